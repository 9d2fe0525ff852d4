"""The losses: pure functions of arrays, channels last, ready for `jit`, `grad` and
`vmap`.
"""

from hfpl_jax.losses.contrast import draw_half, intra_view_contrast, prototype_contrast
from hfpl_jax.losses.equivariance import equivariance_loss, equivariant_cross_loss, keep_strongest
from hfpl_jax.losses.feature_similarity import feature_similarity_loss
from hfpl_jax.losses.image_prototypes import (
    attention,
    explored_cam,
    general_specific_loss,
    image_specific_cam,
    presence,
    seed_prototypes,
)
from hfpl_jax.losses.importance_sampling import (
    expected_importance_sampling_loss,
    importance_sampling_loss,
    sample_pixels,
    sampled_loss,
    sampling_weights,
)
from hfpl_jax.losses.lal import locally_adaptive_loss
from hfpl_jax.losses.min_pooling import min_pooling_loss
from hfpl_jax.losses.multilabel import gap_loss, pooled_loss, soft_margin
from hfpl_jax.losses.peak_stimulation import find_peaks, peak_mean
from hfpl_jax.losses.prototypes import class_prototypes, pixel_classes, prototype_scores
from hfpl_jax.losses.scores import add_background, max_normalize, similarity_scores
from hfpl_jax.losses.structure_seeds import structure_seeds

__all__ = [
    "add_background",
    "attention",
    "class_prototypes",
    "draw_half",
    "equivariance_loss",
    "equivariant_cross_loss",
    "expected_importance_sampling_loss",
    "explored_cam",
    "feature_similarity_loss",
    "find_peaks",
    "gap_loss",
    "general_specific_loss",
    "image_specific_cam",
    "importance_sampling_loss",
    "intra_view_contrast",
    "keep_strongest",
    "locally_adaptive_loss",
    "max_normalize",
    "min_pooling_loss",
    "peak_mean",
    "pixel_classes",
    "pooled_loss",
    "presence",
    "prototype_contrast",
    "prototype_scores",
    "sample_pixels",
    "sampled_loss",
    "sampling_weights",
    "seed_prototypes",
    "similarity_scores",
    "soft_margin",
    "structure_seeds",
]
