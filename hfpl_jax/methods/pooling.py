"""How a method's CAM logits become one logit a class, by name."""

import functools
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import NamedTuple

import jax
import jax.numpy as jnp

from hfpl_jax.losses import peak_mean
from hfpl_jax.losses.ranked_pooling import ranked_mean
from hfpl_jax.precision import at_least_float32
from hfpl_jax.shapes import Array

MEAN = "mean"

ENLARGE = 8
"""Of the maps in which a training looks for peaks."""


class Pooling(NamedTuple):
    """learnt: [b, h, w, c] to [b, c], of whole crops in training, their padding among them.
    seen: of photographs in a padded batch, whose own pixels are `valid` [b, h, w]; None
    where it is the mean of these.
    """

    learnt: Callable[[Array], jax.Array]
    seen: Callable[[Array, Array], jax.Array] | None = None


def _mean(maps: Array) -> jax.Array:
    return jnp.mean(at_least_float32(maps), axis=(1, 2))


POOLINGS: Mapping[str, Pooling] = MappingProxyType(
    {
        MEAN: Pooling(_mean),
        "peaks": Pooling(functools.partial(peak_mean, enlarge=ENLARGE), peak_mean),
        "ranked": Pooling(ranked_mean, ranked_mean),
        "peaks_undivided": Pooling(
            functools.partial(peak_mean, enlarge=ENLARGE, undivided=True), peak_mean
        ),
    }
)
"""The mean of all pixels (GAP); that of the peaks (`peak_mean`); the same with the
gradient as it was released; the mean in which higher pixels count more
(`ranked_mean`).
"""
