"""The methods by name. A new one is a file beside this one and a line here."""

from collections.abc import Mapping

from hfpl_jax.methods.cam import Cam
from hfpl_jax.methods.drs import Drs
from hfpl_jax.methods.group import Group
from hfpl_jax.methods.mctformer import Mctformer
from hfpl_jax.methods.method import Method
from hfpl_jax.methods.ppc import Ppc
from hfpl_jax.methods.prm import Prm
from hfpl_jax.methods.probe import Probe
from hfpl_jax.methods.puzzle import Puzzle
from hfpl_jax.methods.seam import Seam
from hfpl_jax.methods.sipe import Sipe

METHODS: Mapping[str, type[Method]] = {
    "cam": Cam,
    "drs": Drs,
    "group": Group,
    "mctformer": Mctformer,
    "ppc": Ppc,
    "prm": Prm,
    "probe": Probe,
    "puzzle": Puzzle,
    "seam": Seam,
    "sipe": Sipe,
}
"""Of config.method.name."""
