"""From class activation maps to labels."""

from hfpl_jax.refine.crf import dense_crf
from hfpl_jax.refine.crf_exact import exact_mean_field
from hfpl_jax.refine.crf_settings import PUBLISHED_CRF, CrfSettings

__all__ = ["PUBLISHED_CRF", "CrfSettings", "dense_crf", "exact_mean_field"]
