"""Eight devices on any machine, so that sharded code is tested as such; set before
anything imports JAX.
"""

import functools
import gc
import inspect
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
# Nor do the others need XLA's newer code generator, which takes three times as long as
# the one before it, or threads to run it.
CODE_GENERATOR = {"xla_cpu_use_fusion_emitters": False, "xla_cpu_parallel_codegen_split_count": 1}
XLA_FLAGS = os.environ["XLA_FLAGS"]

# Tracing makes many objects and little garbage: to look for it at every 700th takes a
# tenth of the time of some tests.
gc.set_threshold(10_000)

# Programs that take a moment to compile are shared by the tests, the workers and the
# commands they start; JAX itself keeps those of a second and more.
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.05")
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


@functools.cache
def choose_code_generator():
    """Of the tests that are not marked `optimized`; returns whether there is one to choose.
    An XLA that has no other is left as it is, and so is a JAX that asks for the options
    elsewhere: it is not told publicly.
    """
    import jax
    from jax._src import compiler

    options_of = getattr(compiler, "get_compile_options", None)
    if (
        options_of is None
        or "env_options_overrides" not in inspect.signature(options_of).parameters
    ):
        return False

    def chosen(*args, env_options_overrides=None, **kwargs):
        given = dict(env_options_overrides or {})
        if os.environ[UNOPTIMIZED] == "1":
            given = CODE_GENERATOR | given
        return options_of(*args, env_options_overrides=given, **kwargs)

    try:
        jax.jit(lambda: 0, compiler_options=CODE_GENERATOR).lower().compile()
    except jax.errors.JaxRuntimeError:
        return False
    compiler.get_compile_options = chosen
    return True


@pytest.hookimpl(tryfirst=True)  # before the fixtures of the test
def pytest_runtest_setup(item):
    """Turns XLA's optimizations on for tests marked `optimized`, and off for the
    others: in this process and in those it starts.
    """
    import jax

    wanted = "0" if item.get_closest_marker("optimized") else "1"
    chosen = choose_code_generator() and wanted == "1"
    # Read by the processes that it starts; this one has read it already.
    flags = [f"--{name}={value}".lower() for name, value in CODE_GENERATOR.items() if chosen]
    os.environ["XLA_FLAGS"] = " ".join([XLA_FLAGS, *flags])
    if os.environ[UNOPTIMIZED] != wanted:
        os.environ[UNOPTIMIZED] = wanted
        jax.config.update(UNOPTIMIZED.lower(), wanted == "1")
        jax.clear_caches()


@pytest.fixture
def folders_stay(monkeypatch):
    """See `folders_stay/sitecustomize.py`."""
    from folders_stay.sitecustomize import no_link, refusing

    for name in ("rename", "replace"):
        monkeypatch.setattr(os, name, refusing(getattr(os, name)))
    monkeypatch.setattr(os, "link", no_link)
