"""Pixel-adaptive refinement (PAR): again and again a pixel's scores become a mean of
those around it, the more of a neighbour the nearer its colour. Nothing is trained.

Source: Ru et al., "Learning Affinity from Attention: End-to-End Weakly-Supervised
Semantic Segmentation with Transformers", CVPR 2022; wetr/PAR.py of its program.
"""

import dataclasses
from collections.abc import Callable
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from hfpl_jax.data.transforms.affinity_labels import average_pool
from hfpl_jax.models.padded_resize import extent, resize_padded
from hfpl_jax.refine.background import raised_background
from hfpl_jax.refine.refiner import DeviceRefiner, Padded, Photograph, Refined
from hfpl_jax.refine.strongest import strongest
from hfpl_jax.setting import at_least, setting, some
from hfpl_jax.shapes import Array, Float, Int, typed
from hfpl_jax.training.objective import Apply

DILATIONS = (1, 2, 4, 8, 12, 24)
SHARPNESS = 0.3
OF_PLACE = 0.01
EPSILON = 1e-8
SHARE = 2
"""Pixels of a photograph in one that the refiner looks at, a side."""

_AROUND = tuple((dy, dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1) if dy or dx)


@typed
def pixel_adaptive(
    images: Float[Array, "b h w 3"],
    scores: Float[Array, "b h w k"],
    sizes: Int[Array, "b 2"] | None = None,
    *,
    dilations: tuple[int, ...] = DILATIONS,
    steps: int = 10,
) -> Float[jax.Array, "b h w k"]:
    """t steps of S_i <- sum_n K_in S_n over the eight neighbours n of pixel i at each
    dilation, i itself not among them:

      K_in = softmax_n(-mean_c ((I_nc - I_ic) / (0.3 (s_ic + e)))^2)
           + 0.01 softmax_n(-(d_n / (0.3 (s + e)))^2),   e = 1e-8

    s_ic is the deviation (over n - 1) of the neighbours' values of channel c, d_n the
    distance of a neighbour in pixels and s that of these distances. The kernels of a
    pixel sum to 1.01, by which scores grow in each step, as published: the strongest
    label stays.

    Args:
      images: colours on any scale, at the size of the scores.
      scores: of the labels.
      sizes: rows and columns of each image in a padded batch; None for the whole array.
        Behind its edge an image's last pixels repeat; the padding is never read.
      dilations: pixels from a pixel to its neighbours.
      steps: t.

    Returns:
      float32. Memory: 8 numbers a pixel for each dilation, 36 MB for 375 x 500 pixels.
    """
    offsets = np.array([(d * dy, d * dx) for d in dilations for dy, dx in _AROUND])
    # Channels in front: the innermost axis is then a row, whatever the number of labels.
    colours, labels = (
        jnp.asarray(each, jnp.float32).transpose(0, 3, 1, 2) for each in (images, scores)
    )
    kernels = _kernels(colours, sizes, offsets)

    def step(_, maps: jax.Array) -> jax.Array:
        neighbour = _neighbours(maps, sizes, offsets)
        return _summed(lambda n: kernels[n][:, None] * neighbour(n), maps, len(offsets))

    return jax.lax.fori_loop(0, steps, step, labels).transpose(0, 2, 3, 1)


def _neighbours(
    maps: jax.Array, sizes: Array | None, offsets: np.ndarray
) -> Callable[[jax.Array], jax.Array]:
    """From the number of an offset to what lies there from every pixel, of maps [b, k, h,
    w]; beyond an edge it is the last pixel.
    """
    height, width = maps.shape[2:]
    reach, places = int(np.abs(offsets).max()), jnp.asarray(offsets)
    if sizes is None:
        sizes = jnp.broadcast_to(jnp.asarray((height, width)), (len(maps), 2))
    rows, columns = (
        jnp.clip(jnp.arange(side + 2 * reach) - reach, 0, sizes[:, axis, None] - 1)
        for axis, side in ((0, height), (1, width))
    )
    around = jax.vmap(lambda each, y, x: each[:, y][:, :, x])(maps, rows, columns)

    def neighbour(number: jax.Array) -> jax.Array:
        dy, dx = places[number]
        return jax.lax.dynamic_slice(around, (0, 0, reach + dy, reach + dx), maps.shape)

    return neighbour


def _summed(term: Callable[[jax.Array], jax.Array], like: jax.Array, count: int) -> jax.Array:
    return jax.lax.fori_loop(0, count, lambda n, sums: sums + term(n), jnp.zeros_like(like))


def _kernels(colours: jax.Array, sizes: Array | None, offsets: np.ndarray) -> jax.Array:
    """K, [neighbours, b, h, w]."""
    neighbour, count = _neighbours(colours, sizes, offsets), len(offsets)

    def rise(number: jax.Array) -> jax.Array:
        return neighbour(number) - colours

    mean = _summed(rise, colours, count) / count
    squares = _summed(lambda n: jnp.square(rise(n) - mean), colours, count)
    sharpness = 1.0 / (SHARPNESS * (jnp.sqrt(squares / (count - 1)) + EPSILON))
    alike = jax.lax.map(
        lambda n: -jnp.mean(jnp.square(rise(n) * sharpness), axis=1), jnp.arange(count)
    )
    distances = np.linalg.norm(offsets, axis=1)
    near = np.square(distances / (SHARPNESS * (distances.std(ddof=1) + EPSILON)))
    near = np.exp(near.min() - near)
    of_place = (near / near.sum()).astype(np.float32)[:, None, None, None]
    return jax.nn.softmax(alike, axis=0) + OF_PLACE * of_place


@dataclasses.dataclass(frozen=True)
class Par(DeviceRefiner):
    """Refinement by the colours around each pixel, without a CRF."""

    path: ClassVar[str] = "refine.par"

    dilations: tuple[int, ...] = setting(
        DILATIONS,
        "pixels to a pixel's neighbours, at half the photograph's size",
        some(at_least(1)),
    )
    steps: int = setting(10, "in which scores spread", at_least(1))

    def start(self, photograph: Photograph, cell: int) -> np.ndarray:
        """Behind the threshold, as published (there 0.35 and 0.55)."""
        return average_pool(raised_background(photograph.cams, photograph.threshold), cell)

    def refine(self, batch: Padded, apply: Apply | None = None) -> Refined:
        """At half the photograph's size, as published: colours are looked at twice as far
        away, for a quarter of the work.
        """
        _, height, width, _ = batch.images.shape
        half, halves = (-(-height // SHARE), -(-width // SHARE)), extent(batch.sizes, SHARE)
        images, scores = (
            resize_padded(each.astype(jnp.float32), half, batch.sizes, halves, align_corners=False)
            for each in (batch.images, batch.scores)
        )
        refined = pixel_adaptive(images, scores, halves, dilations=self.dilations, steps=self.steps)
        whole = resize_padded(refined, (height, width), halves, batch.sizes, align_corners=False)
        return strongest(whole, batch.classes)

    def said(self) -> str:
        reach = max(self.dilations)
        return f"pixel-adaptive refinement, {self.steps} steps of up to {SHARE * reach} pixels"
