"""Eight devices on any machine, so that sharded code is tested as such; set before
anything imports JAX.
"""

import os
import signal
import tempfile

os.environ["JAX_PLATFORMS"] = "cpu"
# The tests compile much and compute little: without LLVM's optimizations they take much less time.
_FLAGS = "--xla_force_host_platform_device_count=8 --xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true"
os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {_FLAGS}".strip()

# Programs that take a second or more to compile are shared by the tests, the workers and
# the commands they start.
if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
    _PROGRAMS = (
        tempfile.TemporaryDirectory()
    )  # gone with this process, which is the one that starts the workers
    os.environ["JAX_COMPILATION_CACHE_DIR"] = _PROGRAMS.name

# A suite that runs in the background ignores Ctrl-C; the commands it starts must not.
signal.signal(signal.SIGINT, signal.default_int_handler)
