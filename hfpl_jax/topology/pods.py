"""The pods by name, and their devices as JAX's compiler for TPUs describes them."""

import dataclasses
import importlib.util
import os
from collections.abc import Mapping

import jax
from jax.experimental import topologies

from hfpl_jax.errors import InputError, did_you_mean, in_brackets

_FLAT = {
    1: "1x1",
    4: "2x2",
    8: "2x4",
    16: "4x4",
    32: "4x8",
    64: "8x8",
    128: "8x16",
    256: "16x16",
}
_CUBES = {
    8: "2x2x1",
    16: "2x2x2",
    32: "2x2x4",
    64: "2x4x4",
    128: "4x4x4",
    256: "4x4x8",
    512: "4x8x8",
}
"""By twice the number of chips, as these pods are called by their cores."""


@dataclasses.dataclass(frozen=True)
class Chip:
    """What its maker states of a chip, which is one device.

    Attributes:
      peak: operations a second in products of bfloat16.
      bandwidth: bytes a second from and to its memory.
      link: bytes a second to its neighbours, in both directions together.
      layouts: of the pods there are, by the number in their names.
    """

    peak: float
    bandwidth: float
    link: float
    layouts: Mapping[int, str]

    @property
    def merged(self) -> bool:
        """Whether two cores are one device."""
        return self.layouts is _CUBES


CHIPS: Mapping[str, Chip] = {
    "v4": Chip(275e12, 1228e9, 600e9, _CUBES),
    "v5e": Chip(197e12, 819e9, 400e9, _FLAT),
    "v5p": Chip(459e12, 2765e9, 1200e9, _CUBES),
    "v6e": Chip(918e12, 1640e9, 800e9, _FLAT),
}

_ENVIRONMENT = {
    "TPU_SKIP_MDS_QUERY": "1",  # no word from a cloud is waited for
    "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",  # else a lock file stops the second command
    "TPU_WORKER_HOSTNAMES": "localhost",  # nor looked for; what stands here decides nothing
    "TPU_ACCELERATOR_TYPE": "v5litepod-4",
}


@dataclasses.dataclass(frozen=True)
class Pod:
    """A pod, such as v5e-16.

    Attributes:
      kind: of its chips.
      layout: of these, such as 4x4.
    """

    name: str
    kind: str
    layout: str

    @property
    def chip(self) -> Chip:
        return CHIPS[self.kind]

    @property
    def devices(self) -> list[jax.Device]:
        """All of them, among which a training batch is divided."""
        return _devices(self.kind, self.layout)

    @property
    def of_a_host(self) -> list[jax.Device]:
        """Those of one process, as a topology of their own."""
        host = "2x2x1" if self.chip.merged else "1x1" if self.layout == "1x1" else "2x2"
        return _devices(self.kind, host)


def pod_of(name: str) -> Pod:
    """The pod of a name such as v5e-16, once its compiler is there. To be called before
    anything asks JAX for a device: this process then works on the CPU alone.

    Raises:
      InputError: there is no such pod, or no compiler.
    """
    known = {f"{kind}-{size}": kind for kind, chip in CHIPS.items() for size in chip.layouts}
    if name not in known:
        raise InputError(
            f"--topology={name!r} is no pod that is known{in_brackets(did_you_mean(name, known))}. "
            f"There are {', '.join(known)}."
        )
    if importlib.util.find_spec("libtpu") is None:
        raise InputError(
            f"--topology={name} needs the compiler for TPUs, which is not installed: pip install "
            f'"jax[tpu]=={jax.__version__}". No TPU is needed.'
        )
    os.environ.update(_ENVIRONMENT)
    jax.config.update("jax_platforms", "cpu")
    kind = known[name]
    return Pod(name, kind, CHIPS[kind].layouts[int(name.rpartition("-")[2])])


def _devices(kind: str, layout: str) -> list[jax.Device]:
    bounds = (1, 1, 1) if layout == "1x1" else (2, 2, 1)
    merged = {"chip_config_name": "megacore"} if CHIPS[kind].merged else {}
    found = topologies.get_topology_desc(
        platform="tpu",
        topology_name=f"{kind}:{layout}",
        chips_per_host_bounds=bounds,
        **merged,
    )
    return list(found.devices)
