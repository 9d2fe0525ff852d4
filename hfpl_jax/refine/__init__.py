"""From class activation maps to masks: the refiners by name, and the dense CRF for other
code. A new refiner is a file beside this one and a line here.
"""

from collections.abc import Mapping

from hfpl_jax.refine.crf import Crf, dense_crf
from hfpl_jax.refine.crf_exact import exact_mean_field
from hfpl_jax.refine.crf_settings import PUBLISHED_CRF, CrfSettings
from hfpl_jax.refine.par import Par
from hfpl_jax.refine.patch_affinity import PatchAffinity
from hfpl_jax.refine.refinement_learning import RefinementLearning
from hfpl_jax.refine.refiner import Refiner
from hfpl_jax.refine.regions import Regions
from hfpl_jax.refine.superpixels import Superpixels
from hfpl_jax.refine.threshold import Threshold
from hfpl_jax.refine.walk import RandomWalk

REFINERS: Mapping[str, type[Refiner]] = {
    "threshold": Threshold,
    "crf": Crf,
    "random_walk": RandomWalk,
    "refinement_learning": RefinementLearning,
    "par": Par,
    "patch_affinity": PatchAffinity,
    "superpixels": Superpixels,
    "regions": Regions,
}
"""Of config.refine.name."""

__all__ = ["PUBLISHED_CRF", "REFINERS", "CrfSettings", "dense_crf", "exact_mean_field"]
