"""The commit of the checkout that the library runs from, and of no other."""

import os
import subprocess

import pytest

import hfpl_jax
from hfpl_jax.runtime import provenance


@pytest.fixture
def library(tmp_path, monkeypatch):
    """A library's file in a folder of a git checkout."""

    def git(*arguments):
        settings = ["-c", "user.name=a", "-c", "user.email=a@b.c"]
        return subprocess.run(
            ["git", "-C", tmp_path, *settings, *arguments], check=True, capture_output=True
        )

    git("init", "-q")
    (tmp_path / "hfpl_jax").mkdir()
    file = tmp_path / "hfpl_jax" / "__init__.py"
    file.write_text("")
    monkeypatch.setattr(hfpl_jax, "__file__", str(file))
    provenance.commit.cache_clear()
    yield file, git
    provenance.commit.cache_clear()


def test_a_clean_checkout_and_one_with_changes(library):
    file, git = library
    git("add", ".")
    git("commit", "-qm", "one")
    head = git("rev-parse", "HEAD").stdout.decode()
    assert len(provenance.made_by()["commit"]) >= 12
    assert head.startswith(provenance.made_by()["commit"])
    provenance.commit.cache_clear()
    file.write_text("changed")
    assert head.startswith(provenance.made_by()["commit"].removesuffix("-dirty"))
    assert provenance.made_by()["commit"].endswith("-dirty")


def test_installed_into_the_checkout_of_something_else(library):
    file, git = library
    (file.parents[1] / "theirs").write_text("")
    git("add", "theirs")
    git("commit", "-qm", "theirs")
    assert "commit" not in provenance.made_by()


def test_no_checkout_at_all(tmp_path, monkeypatch):
    monkeypatch.setattr(hfpl_jax, "__file__", str(tmp_path / "__init__.py"))
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    provenance.commit.cache_clear()
    assert "commit" not in provenance.made_by()
    provenance.commit.cache_clear()


def test_the_machine_is_its_processor_and_the_cores_that_are_ours(monkeypatch):
    text = "processor\t: 0\nmodel name\t: Some CPU 9 \nprocessor\t: 1\nmodel name\t: Some CPU 9\n"
    monkeypatch.setattr(provenance.pathlib.Path, "read_text", lambda path: text)
    monkeypatch.setattr(provenance.pathlib.Path, "exists", lambda path: True)
    monkeypatch.setattr(os, "cpu_count", lambda: 64)
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {0, 5, 6}, raising=False)
    monkeypatch.setattr(provenance.platform, "python_version", lambda: "3.11.7")
    assert provenance.machine() == "3 cores of Some CPU 9, Python 3.11.7"
    monkeypatch.setattr(provenance.pathlib.Path, "exists", lambda path: False)  # no Linux
    monkeypatch.setattr(provenance.platform, "processor", lambda: "arm")
    assert provenance.machine() == "3 cores of arm, Python 3.11.7"
    assert provenance.made_by()["machine"] == provenance.machine()
