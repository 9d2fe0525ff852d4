"""Eight devices on any machine, so that sharded code is tested as such; set before
anything imports JAX.
"""

import os
import pathlib
import signal
import tempfile

import pytest

os.environ["JAX_PLATFORMS"] = "cpu"
os.environ["XLA_FLAGS"] = (
    f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count=8".strip()
)
# The tests compile much and compute little: without XLA's optimizations they take much
# less time. Those that are marked `optimized` compile as a user's programs do.
UNOPTIMIZED = "JAX_DISABLE_MOST_OPTIMIZATIONS"
os.environ[UNOPTIMIZED] = "1"

# Programs that take a second or more to compile are shared by the tests, the workers
# and the commands they start.
if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
    _PROGRAMS = (
        tempfile.TemporaryDirectory()
    )  # gone with this process, which is the one that starts the workers
    os.environ["JAX_COMPILATION_CACHE_DIR"] = _PROGRAMS.name

# A suite that runs in the background ignores Ctrl-C; the commands it starts must not.
signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_configure(config):
    """A deprecated call in a line of ours is an error, one in a library's own is
    not.
    """
    tests = (path.stem for path in pathlib.Path(__file__).parent.rglob("*.py"))
    ours = "|".join([r"(hfpl_jax|experiments|configs)\b.*", *sorted(set(tests))])
    config.addinivalue_line("filterwarnings", f"error::DeprecationWarning:({ours})$")


@pytest.hookimpl(tryfirst=True)  # before the fixtures of the test
def pytest_runtest_setup(item):
    """Turns XLA's optimizations on for tests marked `optimized`, and off for the
    others: in this process and in those it starts.
    """
    import jax

    wanted = "0" if item.get_closest_marker("optimized") else "1"
    if os.environ[UNOPTIMIZED] != wanted:
        os.environ[UNOPTIMIZED] = wanted
        jax.config.update(UNOPTIMIZED.lower(), wanted == "1")
        jax.clear_caches()
