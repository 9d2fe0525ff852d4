"""Names of pods, and what is said where one cannot be asked about."""

import importlib.util

import pytest

from hfpl_jax.errors import InputError
from hfpl_jax.topology import pods
from hfpl_jax.topology.pods import Pod, pod_of


@pytest.fixture
def there(monkeypatch):
    """As where the compiler is installed, without it."""
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object())
    for name in pods._ENVIRONMENT:
        monkeypatch.setenv(name, "before")


@pytest.mark.parametrize(
    ("name", "kind", "layout"),
    [
        ("v5e-1", "v5e", "1x1"),
        ("v5e-16", "v5e", "4x4"),
        ("v6e-8", "v6e", "2x4"),
        ("v4-8", "v4", "2x2x1"),  # named by its cores, two a chip
        ("v5p-32", "v5p", "2x2x4"),
    ],
)
def test_the_names_that_people_use(there, name, kind, layout):
    assert pod_of(name) == Pod(name, kind, layout)


def test_one_that_there_is_not(there):
    with pytest.raises(InputError, match=r"--topology='v5e-17' is no pod .*did you mean 'v5e-1"):
        pod_of("v5e-17")


def test_without_the_compiler_the_command_that_installs_it_is_named(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r'not installed: pip install "jax\[tpu\]==\d'):
        pod_of("v5e-16")


@pytest.mark.topology
@pytest.mark.parametrize("name", ["v5e-1", "v5e-16", "v6e-256", "v4-8", "v5p-32"])
def test_the_devices_of_a_pod_are_its_chips(name):
    pytest.importorskip("libtpu")
    pod = pod_of(name)
    kind, _, number = name.partition("-")
    chips = int(number) // (2 if kind in ("v4", "v5p") else 1)
    assert len(pod.devices) == chips
    assert len(pod.of_a_host) == min(chips, 4)
