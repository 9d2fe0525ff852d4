"""PuzzleCAM: the maps of an image and those of its four tiles, laid together like a
puzzle, have to agree.

Source: Jo and Yu, "Puzzle-CAM: Improved localization via matching partial and full
features", ICIP 2021; train_classification_with_puzzle.py and
inference_classification.py of its program, of whose options those that its numbers
were published with are here.
"""

import dataclasses
import functools
import operator
from collections.abc import Callable, Sequence
from typing import ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from hfpl_jax.errors import InputError
from hfpl_jax.losses import equivariance_loss, gap_loss
from hfpl_jax.methods.merge import enlarged
from hfpl_jax.methods.method import Maps, Method
from hfpl_jax.models.cam_network import CamNetwork, kaiming_normal
from hfpl_jax.section import Switch
from hfpl_jax.setting import above_up_to, at_least, setting
from hfpl_jax.shapes import Array, Bool, Float, Num, typed
from hfpl_jax.training.objective import Apply, Batch, Prediction

SIDE = 2
"""Tiles along each side of an image."""

EPSILON = 1e-5


@typed
def tile(images: Float[Array, "b h w k"]) -> Float[jax.Array, "4*b h//2 w//2 k"]:
    """Cuts each image into its four quarters, row by row.

    The tiles of an image lie together, so that a batch that is divided among devices
    stays so. In the published program the first tiles of all images come first; no
    number depends on it where statistics are those of all tiles.
    """
    b, h, w, k = images.shape
    grid = jnp.asarray(images).reshape(b, SIDE, h // SIDE, SIDE, w // SIDE, k)
    return grid.swapaxes(2, 3).reshape(b * SIDE**2, h // SIDE, w // SIDE, k)


@typed
def join(tiles: Float[Array, "n h w k"]) -> Float[jax.Array, "n//4 2*h 2*w k"]:
    """Undoes `tile`: each four maps become one."""
    n, h, w, k = tiles.shape
    grid = jnp.asarray(tiles).reshape(n // SIDE**2, SIDE, SIDE, h, w, k)
    return grid.swapaxes(2, 3).reshape(n // SIDE**2, SIDE * h, SIDE * w, k)


@typed
def puzzle_losses(
    logits: Float[Array, "b h w c"],
    joined: Float[Array, "b h w c"],
    labels: Num[Array, "b c"] | Bool[Array, "b c"],
    classification: Callable[..., jax.Array] = gap_loss,
) -> dict[str, jax.Array]:
    """The loss terms of PuzzleCAM, scalars by name.

      classification        GAP(f)
      classification_tiles  GAP(F)
      reconstruction        mean over images, pixels and all classes of y |f - F|

    Absent classes count in the last mean. Neither map is normalised or rectified there,
    and both get a gradient. The second term pools the joined maps: the mean over the
    tiles is taken of their logits, not of their losses.

    Args:
      logits: f, CAM logits of the images before any ReLU.
      joined: F, those of their tiles, joined.
      labels: image labels y in {0, 1}.
      classification: the loss of CAM logits and labels.
    """
    present = jnp.asarray(labels, logits.dtype)[:, None, None, :]
    return {
        "classification": classification(logits, labels),
        "classification_tiles": classification(joined, labels),
        "reconstruction": equivariance_loss(present * logits, present * joined),
    }


@dataclasses.dataclass(frozen=True)
class Puzzle(Method):
    """PuzzleCAM: each photograph and its four quarters, three loss terms."""

    path: ClassVar[str] = "method.puzzle"
    title: ClassVar[str] = "PuzzleCAM"
    switches: ClassVar[tuple[Switch, ...]] = (
        Switch(
            ("method.puzzle.ramp",),
            lambda config, _: config.method.puzzle.reconstruction > 0,
            "config.method.puzzle.reconstruction above 0",
        ),
    )

    reconstruction: float = setting(
        4.0, "weight of the difference between the maps of photograph and quarters", at_least(0)
    )
    ramp: float = setting(
        0.5, "share of the training over which this weight grows from 0", above_up_to(0, 1)
    )

    def network(
        self, backbone: nn.Module, num_classes: int, *, frozen_batch_norm: bool, dropout: float
    ) -> CamNetwork:
        """As published, its batch normalisation is not frozen
        (config.model.frozen_batch_norm): the images are normalised by the statistics of
        all images of the batch, the tiles by those of all tiles, and both move the
        stored ones. There, each of four devices took the statistics of its own share,
        in which all tiles were of one corner.
        """
        return CamNetwork(
            backbone,
            num_classes,
            frozen_batch_norm=frozen_batch_norm,
            dropout=dropout,
            kernel_init=kaiming_normal,
        )

    def check_crop(self, crop_size: int, output_stride: int) -> None:
        """A tile has whole cells, so that those of the joined maps are the image's."""
        grain = SIDE * output_stride
        if crop_size % grain:
            lower = crop_size // grain * grain
            sizes = " or ".join(str(size) for size in (lower, lower + grain) if size)
            raise InputError(
                f"config.train.crop_size = {crop_size} cannot be cut into PuzzleCAM's tiles: each "
                f"must have whole cells of the network's output stride, {output_stride} pixels. "
                f"Set it to {sizes}, a multiple of {grain}."
            )

    def predict(self, apply: Apply, batch: Batch, key: jax.Array) -> Prediction:
        logits = apply(batch.images, train=True).logits
        joined = join(apply(tile(batch.images), train=True).logits)
        grown = jnp.minimum(batch.progress / self.ramp, 1.0)
        weights: dict[str, float | jax.Array] = {
            "classification": 1.0,
            "classification_tiles": 1.0,
            "reconstruction": self.reconstruction * grown,
        }
        losses = puzzle_losses(logits, joined, batch.labels, self.classification)
        return Prediction(logits, losses, weights)

    def maps(
        self, apply: Apply, images: jax.Array, sizes: jax.Array, mirrored: jax.Array | None = None
    ) -> Maps:
        """The positive parts of the logits: they are taken of an image and of its mirror
        image each, before the two are added.
        """
        logits = apply(images, sizes=sizes).logits
        return Maps(nn.relu(logits), logits)

    def merge(
        self,
        maps: Sequence[Array],
        classes: np.ndarray,
        scaled_sizes: Sequence[tuple[int, int]],
        size: tuple[int, int],
        output_stride: int,
    ) -> Array:
        """Their sum over the scales, each class divided by its maximum plus 1e-5.

        As published, the maps of every scale are enlarged, bilinearly without aligned
        corners, to the cells that the photograph itself has, of `output_stride` pixels
        each (16 there), and what lies beyond its border is cut off.
        """
        rows, columns = (-(-side // output_stride) * output_stride for side in size)
        summed = functools.reduce(
            operator.add, (enlarged(of_scale[..., classes], (rows, columns)) for of_scale in maps)
        )[: size[0], : size[1]]
        return summed / (summed.max(axis=(0, 1)) + EPSILON)
