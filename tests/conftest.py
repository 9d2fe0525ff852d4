"""Eight devices on any machine, so that sharded code is tested as such; set before anything imports JAX."""

import os

os.environ["JAX_PLATFORMS"] = "cpu"
# The tests compile much and compute little: with fewer of LLVM's optimizations they take a quarter less time.
_FLAGS = "--xla_force_host_platform_device_count=8 --xla_backend_optimization_level=1 --xla_llvm_disable_expensive_passes=true"
os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {_FLAGS}".strip()
