"""SIPE: the CAM finds seeds, the seeds of each class in an image have a mean feature,
and the map of what resembles it has to agree with the CAM.

Source: Chen et al., "Self-supervised Image-specific Prototype Exploration for Weakly
Supervised Semantic Segmentation", CVPR 2022; train_resnet50_SIPE.py and make_cam.py of
its program.
"""

import dataclasses
import functools
import operator
from collections.abc import Sequence
from typing import ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from hfpl_jax.losses import attention, explored_cam, general_specific_loss, presence
from hfpl_jax.methods.merge import enlarged
from hfpl_jax.methods.method import Maps, Method
from hfpl_jax.models.padded_resize import mirror_padded
from hfpl_jax.models.sipe_network import SipeNetwork
from hfpl_jax.shapes import Array, Bool, Float, typed
from hfpl_jax.training.objective import Apply, Batch, Prediction

EPSILON = 1e-5
_BELOW = 127 / 255  # the step below 1/2 that an 8-bit map has


@typed
def nearest(mask: Bool[Array, "b H W"], size: tuple[int, int]) -> Bool[Array, "b h w"]:
    """The mask at `size`: of each cell its pixel at the top left."""
    rows, columns = (
        np.arange(cells) * side // cells for cells, side in zip(size, mask.shape[1:], strict=True)
    )
    return mask[:, rows[:, None], columns]


@typed
def merged_maps(
    maps: Sequence[Float[Array, "_ _ k"]], classes: np.ndarray, size: tuple[int, int]
) -> Float[Array, "H W n"]:
    """Image-specific CAMs of the background, which is the last channel of `maps`, and
    of `classes`: the sum over the scales at the photograph's `size`, each divided by
    its maximum plus 1e-5.
    """
    channels = np.concatenate([[maps[0].shape[-1] - 1], classes])
    summed = functools.reduce(
        operator.add, (enlarged(of_scale[..., channels], size) for of_scale in maps)
    )
    return summed / (summed.max(axis=(0, 1)) + EPSILON)


@dataclasses.dataclass(frozen=True)
class Sipe(Method):
    """SIPE: image-specific prototypes, two loss terms, a background of its own."""

    path: ClassVar[str] = "method.sipe"
    title: ClassVar[str] = "SIPE"
    fuses_flips: ClassVar[bool] = True
    threshold: ClassVar[float] = 0.5

    def network(
        self, backbone: nn.Module, num_classes: int, *, frozen_batch_norm: bool, dropout: float
    ) -> SipeNetwork:
        return SipeNetwork(
            backbone, num_classes, frozen_batch_norm=frozen_batch_norm, dropout=dropout
        )

    def predict(self, apply: Apply, batch: Batch, key: jax.Array) -> Prediction:
        """Seeds are found by the backbone's last feature."""
        output = apply(batch.images, train=True)
        logits = output.logits
        present = presence(batch.labels, nearest(batch.valid, logits.shape[1:3]))
        scores = attention(logits) * present
        maps = explored_cam(output.feature, scores, output.hierarchy, present)
        losses = {
            "classification": self.classification(logits, batch.labels),
            "consistency": general_specific_loss(scores, maps),
        }
        return Prediction(logits, losses, {"classification": 1.0, "consistency": 1.0})

    def maps(
        self, apply: Apply, images: jax.Array, sizes: jax.Array, mirrored: jax.Array | None = None
    ) -> Maps:
        """Image-specific CAMs of all classes, then that of the background. Here seeds
        are found by the hierarchical feature; the logits and features of an image and
        its mirror image are added before. No map depends on which classes are present.
        """
        looks = [images] if mirrored is None else [images, mirrored]
        count, batch = len(looks), images.shape[0]

        def together(arrays: Sequence[jax.Array]) -> jax.Array:
            """The looks at an image lie beside each other: a divided batch stays so."""
            return jnp.stack(arrays, axis=1).reshape(count * batch, *arrays[0].shape[1:])

        output = apply(together(looks), sizes=together([sizes] * count))
        valid = output.valid[::count]
        columns = jnp.sum(valid[:, 0], axis=-1)

        def added(maps: jax.Array) -> jax.Array:
            plain, *others = (maps[index::count] for index in range(count))
            return sum((mirror_padded(other, columns) for other in others), plain)

        logits, hierarchy = added(output.logits), added(output.hierarchy)
        present = valid[..., None]
        scores = attention(jnp.where(present, logits, 0.0)) * present
        hierarchy = jnp.where(present, hierarchy, 0.0)
        everywhere = jnp.broadcast_to(present.astype(jnp.float32), scores.shape)
        cams = explored_cam(hierarchy, scores, hierarchy, everywhere)
        return Maps(jnp.roll(cams, -1, axis=-1), logits / count)

    def merge(
        self,
        maps: Sequence[Array],
        classes: np.ndarray,
        scaled_sizes: Sequence[tuple[int, int]],
        size: tuple[int, int],
        output_stride: int,
    ) -> Array:
        """1/2 (1 + m_c - m_0) with m of `merged_maps`: how far a class is ahead of the
        background.

        Above 1/2 it has won, so that the label map at this threshold is the strongest of
        all maps, the background's among them. Whatever is linear, such as a random
        walk, may be done to these instead of m. What has not won stays below 1/2 in 8
        bits too.
        """
        merged = merged_maps(maps, classes, size)
        xp = merged.__array_namespace__()
        ahead = merged[..., 1:] - merged[..., :1]
        shown = 0.5 + 0.5 * ahead
        return xp.where(ahead > 0.0, shown, xp.minimum(shown, np.float32(_BELOW)))
