"""CAMs spread between patches of a photograph that look alike to the pretrained backbone:
nothing is trained.

Its use on CAMs: Lin et al., "CLIP is Also an Efficient Segmenter", CVPR 2023 (there of
attention); the scaling: Knight, Ruiz and Uçar, "A Symmetry Preserving Algorithm for
Matrix Scaling", SIAM J. Matrix Anal. Appl. 2014.
"""

import dataclasses
from typing import ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from hfpl_jax.data.transforms.affinity_labels import average_pool
from hfpl_jax.directions import unit_vectors
from hfpl_jax.models.convolution import inside
from hfpl_jax.models.padded_resize import extent, resize_padded, shrink_padded
from hfpl_jax.models.preprocess import normalize
from hfpl_jax.precision import at_least_float32
from hfpl_jax.refine.background import raised_background
from hfpl_jax.refine.random_walk import upsample_walked
from hfpl_jax.refine.refiner import Padded, Photograph, PretrainedRefiner, Refined
from hfpl_jax.refine.strongest import strongest
from hfpl_jax.setting import above, at_least, setting
from hfpl_jax.shapes import Array, Bool, Float, typed
from hfpl_jax.training.objective import Apply

SINKHORN_STEPS = 20
"""After them the rows of A sum to 1 but for rounding."""


@typed
def patch_affinity(
    features: Float[Array, "b h w k"],
    valid: Bool[Array, "b h w"] | None = None,
    *,
    power: float,
    steps: int = SINKHORN_STEPS,
) -> Float[jax.Array, "b n n"]:
    """A, symmetric and doubly stochastic, between the n = h w patches of each photograph:

      G_ij = <f_i, f_j> / (|f_i| |f_j|),   K_ij = max(G_ij, 0)^p,   K_ii = 1
      d_i <- sqrt(d_i / (K d)_i),  t times from d = 1
      A = diag(d) K diag(d)

    The last is Sinkhorn's scaling of a symmetric matrix, which stays symmetric.

    Args:
      features: of the patches, f; one of length 0 has to do with itself alone.
      valid: False in a batch's padding, whose rows and columns are 0; None: all are
        patches of a photograph.
      power: p; the higher, the less a patch has to do with those unlike it.
      steps: t.

    Returns:
      float32.
    """
    unit = unit_vectors(features)
    b, h, w, _ = unit.shape
    unit = unit.reshape(b, h * w, -1)
    gram = jnp.einsum("bik,bjk->bij", unit, unit, precision="highest")
    there = jnp.ones((b, h * w), bool) if valid is None else jnp.asarray(valid).reshape(b, -1)
    kernel = jnp.where(jnp.eye(h * w, dtype=bool), 1.0, nn.relu(gram) ** power)
    kernel = jnp.where(there[:, :, None] & there[:, None, :], kernel, 0.0)

    def scaled(_, scale: jax.Array) -> jax.Array:
        sums = jnp.einsum("bij,bj->bi", kernel, scale, precision="highest")
        return jnp.where(there, jnp.sqrt(scale / jnp.where(there, sums, 1.0)), 0.0)

    scale = jax.lax.fori_loop(0, steps, scaled, there.astype(kernel.dtype))
    return scale[:, :, None] * kernel * scale[:, None, :]


@typed
def spread(
    cams: Float[Array, "b h w n"], affinity: Float[Array, "b p p"], *, times: int
) -> Float[jax.Array, "b h w n"]:
    """A^n M: as the rows of A sum to 1 and its columns too, each patch gets a mean, and
    each gives as much as any other.

    Args:
      cams: of patches, M; 0 in a batch's padding, where they stay 0.
      affinity: of `patch_affinity`, A.
      times: n.
    """
    maps = at_least_float32(cams).reshape(len(cams), -1, cams.shape[-1])
    for _ in range(times):
        maps = jnp.einsum("bij,bjn->bin", affinity, maps, precision="highest")
    return maps.reshape(cams.shape)


class HeadFeature(nn.Module):
    """What a head reads of a backbone."""

    backbone: nn.Module

    def __call__(self, images: Array, sizes: Array) -> Array:
        return self.backbone(images, sizes)[self.backbone.head_feature]


@dataclasses.dataclass(frozen=True)
class PatchAffinity(PretrainedRefiner):
    """Refinement along the affinities of patches, of features that nothing trains.

    The defaults of `power` and `times` are what train says of VOC, of the little that
    was tried: experiments/notes/refiners.md.

    Memory: A and what it is made of are two arrays of n^2 numbers for the n patches of
    a photograph, of 4 MB each for 512 x 512 pixels in cells of 16, of 67 MB in cells of
    8, and that config.run.cam_batch_size times. Larger photographs take no more: they
    are looked at with `long_side` pixels.
    """

    path: ClassVar[str] = "refine.patch_affinity"

    power: float = setting(
        3.0, "of the cosines; the higher, the more alike patches have to be", above(0)
    )
    times: int = setting(2, "that CAMs are spread", at_least(1))

    long_side: int = setting(
        512, "pixels of a photograph's long side at most; a larger one is made smaller", at_least(1)
    )

    def network(self, backbone: nn.Module) -> HeadFeature:
        return HeadFeature(backbone)

    def start(self, photograph: Photograph, cell: int) -> np.ndarray:
        """Means over the pixels that a cell has; the background's is the threshold."""
        scores = raised_background(photograph.cams, photograph.threshold)
        share = average_pool(np.ones_like(scores[..., :1]), cell)
        return average_pool(scores, cell) / share

    def refine(self, batch: Padded, apply: Apply | None = None) -> Refined:
        assert apply is not None
        height, width = batch.images.shape[1:3]
        cell = height // batch.scores.shape[1]
        seen = self.looked_at(batch, cell)
        cells = extent(seen.sizes, cell)
        pixels = normalize(seen.images, inside(seen.sizes, *seen.images.shape[1:3]))
        valid = inside(cells, *seen.scores.shape[1:3])
        affinity = patch_affinity(apply(pixels, seen.sizes), valid, power=self.power)
        maps = spread(seen.scores[..., 1:], affinity, times=self.times)
        scores = jnp.concatenate([seen.scores[..., :1], maps], axis=-1)
        whole = upsample_walked(scores, cells, cell=cell)
        if seen is not batch:
            whole = jnp.asarray(
                resize_padded(whole, (height, width), seen.sizes, batch.sizes, align_corners=False)
            )
        return strongest(whole, batch.classes)

    def looked_at(self, batch: Padded, cell: int) -> Padded:
        """The batch with photographs of `long_side` pixels at most, and their cells."""
        most = -(-self.long_side // cell) * cell
        height, width = (min(side, most) for side in batch.images.shape[1:3])
        if (height, width) == batch.images.shape[1:3]:
            return batch
        long = jnp.max(batch.sizes, axis=1, keepdims=True)
        smaller = (2 * batch.sizes * self.long_side + long) // (2 * long)
        sizes = jnp.where(long > self.long_side, jnp.maximum(smaller, 1), batch.sizes)
        images = shrink_padded(
            batch.images.astype(jnp.float32), (height, width), batch.sizes, sizes
        )
        cells = height // cell, width // cell
        scores = shrink_padded(batch.scores, cells, batch.sizes / cell, sizes / cell)
        return Padded(jnp.rint(images).astype(jnp.uint8), sizes, scores, batch.classes)

    def said(self) -> str:
        return (
            f"CAMs spread {self.times} times along the patch affinities of the pretrained "
            f"backbone, cosines to the power {self.power:g}"
        )
