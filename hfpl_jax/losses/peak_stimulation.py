"""Peak stimulation: the mean of a map's peaks in place of the mean of all its pixels,
so that a classifier learns to have them at objects.

Source: Zhou, Zhu, Ye, Qiu, Jiao, "Weakly Supervised Instance Segmentation using Class
Peak Response", CVPR 2018; peak_stimulation.py of its program.
"""

import itertools

import jax
import jax.numpy as jnp

from hfpl_jax.losses.largest import among_largest
from hfpl_jax.precision import at_least_float32
from hfpl_jax.resize import resize_bilinear
from hfpl_jax.shapes import Array, Bool, Float, typed

FILTERS = ("none", "median", "mean", "max")
"""Which peaks count: those of at least that of their map. Of an even number of values the
median is the lower of the two in the middle.
"""


@typed
def find_peaks(
    maps: Float[Array, "b h w c"],
    valid: Bool[Array, "b h w"] | None = None,
    *,
    window: int = 3,
    least: str | float | int = "median",
) -> Bool[jax.Array, "b h w c"]:
    """Whether a pixel is the maximum of the square window around it, and not below the
    filter's value.

    Of equal values in a window the first one, row by row, is the peak: of a map that is
    constant its first pixel.

    Args:
      maps: of an image and class each.
      valid: False in the padding, which is below every value and counts in no filter;
        None: there is none.
      window: side of the window, odd.
      least: one of `FILTERS`, or a value that a peak has at least.
    """
    maps = jax.lax.stop_gradient(at_least_float32(maps))
    b, h, w, _ = maps.shape
    inside = jnp.ones((b, h, w), bool) if valid is None else jnp.asarray(valid)
    maps = jnp.where(inside[..., None], maps, -jnp.inf)
    reach = window // 2
    padded = jnp.pad(
        maps, ((0, 0), (reach, reach), (reach, reach), (0, 0)), constant_values=-jnp.inf
    )
    found = inside[..., None]
    for dy, dx in itertools.product(range(-reach, reach + 1), repeat=2):
        other = padded[:, reach + dy : reach + dy + h, reach + dx : reach + dx + w]
        if (dy, dx) != (0, 0):
            found &= maps > other if (dy, dx) < (0, 0) else maps >= other
    return found & _high(maps, inside, least)


def _high(maps: jax.Array, inside: jax.Array, least: str | float | int) -> jax.Array:
    """Whether a value is one that the filter keeps."""
    count = jnp.sum(inside, axis=(1, 2))[:, None]
    if least == "none":
        return jnp.ones(maps.shape, bool)
    if least == "median":
        b, h, w, c = maps.shape
        rows = maps.transpose(0, 3, 1, 2).reshape(b * c, h * w)
        wanted = jnp.broadcast_to(count - (count - 1) // 2, (b, c)).reshape(b * c, 1)
        kept = among_largest(rows, wanted)
        return kept.reshape(b, c, h, w).transpose(0, 2, 3, 1)
    if least == "mean":
        total = jnp.sum(jnp.where(inside[..., None], maps, 0.0), axis=(1, 2))
        return maps >= (total / jnp.maximum(count, 1))[:, None, None]
    if least == "max":
        return maps >= jnp.max(maps, axis=(1, 2), keepdims=True)
    return maps >= float(least)


@typed
def peak_mean(
    maps: Float[Array, "b h w c"],
    valid: Bool[Array, "b h w"] | None = None,
    *,
    window: int = 3,
    least: str | float | int = "median",
    enlarge: int = 1,
    undivided: bool = False,
) -> Float[jax.Array, "b c"]:
    """The mean of a map's peaks; 0 of one without any.

      s_bc = 1/N_bc sum_p z_bpc   over the N_bc peaks p of `find_peaks`

    Args:
      maps: CAM logits z.
      valid, window, least: of `find_peaks`.
      enlarge: factor by which the maps are enlarged before, bilinearly with aligned
        corners; 8 in training there. Not with `valid`.
      undivided: as released: every peak gets the whole gradient of s, not 1/N of it.
    """
    maps = at_least_float32(maps)
    if enlarge > 1:
        size = enlarge * maps.shape[1], enlarge * maps.shape[2]
        maps = resize_bilinear(maps, size, align_corners=True)
    found = find_peaks(maps, valid, window=window, least=least)
    total = jnp.sum(jnp.where(found, maps, 0.0), axis=(1, 2))
    mean = total / jnp.maximum(jnp.sum(found, axis=(1, 2)), 1)
    if undivided:
        mean = jax.lax.stop_gradient(mean) + (total - jax.lax.stop_gradient(total))
    return mean
