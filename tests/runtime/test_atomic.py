import subprocess
import sys

import pytest

from hfpl_jax.errors import InputError
from hfpl_jax.runtime.atomic import TEMPORARY, atomic_path, atomic_write


def test_whole_file_under_its_name(tmp_path):
    atomic_write(tmp_path / "new" / "a.txt", "hé")
    assert (tmp_path / "new" / "a.txt").read_bytes() == "hé".encode()
    atomic_write(tmp_path / "new" / "a.txt", b"two")
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["a.txt"]
    assert (tmp_path / "new" / "a.txt").read_bytes() == b"two"


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_an_exception_leaves_the_old_file(tmp_path, error):
    path = tmp_path / "a.txt"
    path.write_text("old")

    def interrupted():
        with atomic_path(path) as temporary:
            temporary.write_text("ne")
            raise error

    with pytest.raises(error):
        interrupted()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_kill_leaves_the_old_file(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")
    script = f"""
import os
from hfpl_jax.runtime.atomic import atomic_path
with atomic_path({str(path)!r}) as temporary:
    temporary.write_text("ne")
    os.kill(os.getpid(), 9)
"""
    assert subprocess.run([sys.executable, "-c", script]).returncode == -9
    assert path.read_text() == "old"
    assert {one.name for one in tmp_path.iterdir()} == {"a.txt", f"a.txt{TEMPORARY}"}
    atomic_write(path, "new")  # a leftover is in nobody's way
    assert [one.name for one in tmp_path.iterdir()] == ["a.txt"]


def test_an_unwritable_place_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(
        InputError,
        match=r"Cannot write .*file/a\.txt: File exists\. Free some space or choose another folder",
    ):
        atomic_write(tmp_path / "file" / "a.txt", "x")


def test_a_full_disk_is_an_input_error(tmp_path):
    def full():
        with atomic_path(tmp_path / "a.txt"):
            raise OSError(28, "No space left on device")

    with pytest.raises(InputError, match="No space left on device"):
        full()
    assert not list(tmp_path.iterdir())
