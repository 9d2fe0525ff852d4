"""The exact CRF of photographs of any size and any number of labels, by few
compilations: each is padded to a bucket.

The work grows with the square of the pixels, so what is padded to the bucket is the list
of a photograph's pixels, which the appearance kernel reads: up to 32 tiles of 8192
pixels to as many tiles as the kernel is computed in anyway, which costs nothing; above,
to 5 significant bits of their number, at most 13 % of the work. The square around the
photograph, in which the smoothness kernel is two matrix products, a hundredth of the
work, may be larger: it holds upright and lying photographs alike.

Compilations, for each number of maps: with sides of at most 512 pixels there are 35
lists and 55 pairs of a list and a square, times the labels' buckets: 1 to 4 classes are
the first, 5 to 8 the next. Of VOC's 1006 photographs with boxes whose 264 pairs of a
size and a number of labels were compiled before, 27 buckets are left.
"""

import functools
from typing import NamedTuple

import jax
import numpy as np

from hfpl_jax.refine.crf_exact import KEY_PIXELS, exact_mean_field
from hfpl_jax.refine.crf_settings import CrfSettings

_SMALLEST_SIDE = 32
_SIDE_STEP = 256
"""Above twice that sides are multiples of it, below powers of two."""
_LABEL_STEP = 4


class Bucket(NamedTuple):
    """What is padded to the same bucket shares a compilation.

    side: of the square around the photograph. pixels: of the list that the appearance
    kernel reads. labels: the background and a multiple of 4 classes.
    """

    side: int
    pixels: int
    labels: int


def bucket_of(height: int, width: int, labels: int) -> Bucket:
    """The smallest one that holds a photograph and its labels."""
    longest = max(height, width, _SMALLEST_SIDE)
    side = _power_of_two(longest)
    if longest > 2 * _SIDE_STEP:
        side = _multiple(longest, _SIDE_STEP)
    pixels = max(height * width, _SMALLEST_SIDE**2)
    if pixels <= KEY_PIXELS:
        pixels = _power_of_two(pixels)
    else:
        tiles = -(-pixels // KEY_PIXELS)
        pixels = KEY_PIXELS * _multiple(tiles, max(1, _power_of_two(tiles) // 32))
    return Bucket(side, min(pixels, side**2), 1 + _multiple(labels - 1, _LABEL_STEP))


def _power_of_two(at_least: int) -> int:
    return 1 << (at_least - 1).bit_length()


def _multiple(at_least: int, step: int) -> int:
    return -(-at_least // step) * step


@functools.partial(jax.jit, static_argnames=("settings", "pixels"))
def bucket_mean_field(
    images: jax.Array,
    probabilities: jax.Array,
    valid: jax.Array,
    labels: jax.Array,
    *,
    settings: CrfSettings,
    pixels: int,
) -> jax.Array:
    """`exact_mean_field` of maps that were padded to a bucket, compiled once for each."""
    return exact_mean_field(
        images, probabilities, valid, settings=settings, labels=labels, pixels=pixels
    )


def padded_mean_field(
    image: np.ndarray, probabilities: np.ndarray, *, settings: CrfSettings
) -> np.ndarray:
    """Exact marginals of several maps [maps, h, w, k] of one photograph uint8 [h, w,
    3].
    """
    maps, height, width, labels = probabilities.shape
    bucket = bucket_of(height, width, labels)
    inside = np.s_[:, :height, :width]
    square = (maps, bucket.side, bucket.side)
    images = np.zeros((*square, 3), np.uint8)
    scores = np.zeros((*square, bucket.labels), np.float32)
    valid = np.zeros(square, bool)
    images[inside], scores[inside][..., :labels], valid[inside] = image, probabilities, True
    marginals = bucket_mean_field(
        images, scores, valid, np.int32(labels), settings=settings, pixels=bucket.pixels
    )
    return np.asarray(marginals[inside][..., :labels])
