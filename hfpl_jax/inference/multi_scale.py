"""How a network looks at photographs: at several scales, mirrored or not, in batches of
one padded shape.

Photographs are grouped by size so that a batch shares one padded shape; the network
treats the padding as its own zero padding, so an output does not depend on the shape it
was padded to nor on its neighbours in the batch.
"""

import dataclasses
from collections.abc import Callable, Sequence, Set
from typing import Any, Protocol, Self

import grain
import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from hfpl_jax.data.example import Example
from hfpl_jax.data.index import Indexed, entries_of
from hfpl_jax.data.transforms.resample import resize
from hfpl_jax.inference.padding import scaled_size, smallest_fit
from hfpl_jax.models.convolution import inside
from hfpl_jax.models.preprocess import normalize
from hfpl_jax.runtime import distributed

Batch = tuple[int, tuple[int, ...]]
"""Which of the padded shapes, and the indices of its photographs."""


class Photograph(Protocol):
    """What a network looks at; an `Example` is one.

    Attributes:
      file_name: its name, of no other in the same sequence.
      labels: zero-based foreground classes, where they are given.
      height, width: of its pixels.
    """

    file_name: Any
    labels: Any
    height: Any
    width: Any

    def pixels(self) -> np.ndarray:
        """uint8 [height, width, 3]."""
        ...


@dataclasses.dataclass(frozen=True)
class MultiScale:
    """How often, and at which sizes, a photograph is looked at.

    Attributes:
      scales: factors of the image's size.
      long_side: pixels of the long side at scale 1, or None for the photograph's own
        size.
      flip: whether mirrored images are added.
      batch_size: photographs in a batch (twice as many images with `flip`).
    """

    scales: tuple[float, ...]
    long_side: int | None
    flip: bool
    batch_size: int

    @classmethod
    def of(cls, section: ConfigDict, *, flip: bool, batch_size: int) -> Self:
        """As the fields `scales` and `long_side` of a configuration's section say."""
        scales = tuple(float(scale) for scale in section.scales)
        return cls(scales, section.long_side or None, flip, batch_size)

    @property
    def views(self) -> int:
        return 2 if self.flip else 1

    def base_size(self, size: tuple[int, int]) -> tuple[int, int]:
        return size if self.long_side is None else scaled_size(size, self.long_side / max(size))


def make_logits_function(
    forward: Callable[[dict, jax.Array, jax.Array], jax.Array],
) -> Callable[[dict, jax.Array, jax.Array], jax.Array]:
    """`logits(variables, images, sizes)`, to be compiled: uint8 [b, h, w, 3] padded
    images of `sizes` [b, 2] to float32 logits.

    Args:
      forward: `forward(variables, images, sizes)` on normalised images.
    """

    def logits(variables: dict, images: jax.Array, sizes: jax.Array) -> jax.Array:
        pixels = normalize(images, inside(sizes, *images.shape[1:3]))
        return forward(variables, pixels, sizes).astype(jnp.float32)

    return logits


@dataclasses.dataclass(frozen=True)
class LoadBatch(grain.transforms.Map):
    """Indices of one shape's photographs -> the photographs, and a padded batch of
    images for every scale.
    """

    photographs: Sequence[Photograph]
    settings: MultiScale
    shapes: tuple[tuple[int, int], ...]

    def map(self, task: Batch) -> tuple[dict[int, Photograph], list[dict[str, np.ndarray]]]:
        shape, indices = task
        examples = {index: self.photographs[index] for index in indices}
        photographs = [example.pixels() for example in examples.values()]
        return examples, [
            self._pad(photographs, self.shapes[shape], scale) for scale in self.settings.scales
        ]

    def _pad(
        self, photographs: list[np.ndarray], shape: tuple[int, int], scale: float
    ) -> dict[str, np.ndarray]:
        height, width = (int(np.ceil(side * scale)) for side in shape)
        views = self.settings.views
        # The last batch is filled up: its shape must stay the same, and what the empty
        # rows give is not read.
        images = np.zeros((views * self.settings.batch_size, height, width, 3), np.uint8)
        sizes = np.full((views * self.settings.batch_size, 2), (height, width), np.int32)
        for row, photograph in enumerate(photographs):
            base = self.settings.base_size(photograph.shape[:2])
            scaled = resize(photograph, *scaled_size(base, scale))
            for view in range(views):
                place = views * row + view
                sizes[place] = scaled.shape[:2]
                images[place, : sizes[place, 0], : sizes[place, 1]] = (
                    scaled[:, ::-1] if view else scaled
                )
        return {"images": images, "sizes": sizes}


def photograph_sizes(
    photographs: Sequence[Example] | Indexed, settings: MultiScale
) -> dict[str, tuple[int, int]]:
    """File name -> (height, width) at scale 1, in the order of the photographs."""
    return {
        entry.file_name: settings.base_size((entry.height, entry.width))
        for entry in entries_of(photographs)
    }


def batches_by_shape(
    sizes: dict[str, tuple[int, int]],
    shapes: Sequence[tuple[int, int]],
    done: Set[str],
    batch_size: int,
) -> list[Batch]:
    """(shape, photographs) of every batch this process has still to do."""
    groups: list[list[int]] = [[] for _ in shapes]
    for index, (name, size) in distributed.share(list(enumerate(sizes.items()))):
        if name not in done:
            groups[smallest_fit(size, shapes)].append(index)
    return [
        (shape, tuple(group[at : at + batch_size]))
        for shape, group in enumerate(groups)
        for at in range(0, len(group), batch_size)
    ]


def unpadded(
    images: list[dict[str, np.ndarray]],
    outputs: list[np.ndarray],
    row: int,
    photographs: int,
    settings: MultiScale,
    output_stride: int,
) -> tuple[list[np.ndarray], list[tuple[int, int]]]:
    """The logits of one photograph, the `row`-th of those that `outputs` hold, without
    the padding, one a scale, mirrored ones mirrored back and added; and the sizes they
    are of.
    """
    maps, scaled_sizes = [], []
    for batch, logits in zip(images, outputs, strict=True):
        height, width = (int(side) for side in batch["sizes"][settings.views * row])
        extent = np.s_[: -(-height // output_stride), : -(-width // output_stride)]
        count = len(logits) // photographs  # one where mirrored images are in it already
        views = [logits[count * row + view][extent] for view in range(count)]
        maps.append(
            sum(mirrored[:, ::-1] if view else mirrored for view, mirrored in enumerate(views))
        )
        scaled_sizes.append((height, width))
    return maps, scaled_sizes
