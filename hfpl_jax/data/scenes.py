"""The embedded default dataset: generated scenes of eight things on textured ground,
with image labels, exact masks and instances.
"""

import io
from collections.abc import Sequence

import numpy as np
from PIL import Image

from hfpl_jax.data.builder import Record, SegmentationBuilder
from hfpl_jax.data.example import Example, encode_mask
from hfpl_jax.data.scene_painter import CLASS_NAMES, paint_scene
from hfpl_jax.errors import InputError
from hfpl_jax.instance import Instance, encode_rle

_SPLITS = ("train", "val", "unlabelled")
_SMALLEST = 48
"""Pixels; below it the things are smaller than their textures."""


class Scenes(SegmentationBuilder):
    """Scenes that are the same on every machine and need no download.

    Scene i of a split does not depend on how many there are. Both sides of an image are
    drawn from 3/4 to 9/8 of `size`.

    Args:
      train_size: images in the split train.
      val_size: images in the split val.
      unlabelled_size: images in the split unlabelled, for a training that reads no
        labels; 0 for no such split.
      size: typical side of an image in pixels.
      root: must be ""; nothing is read.
      on_bad_record: see `SegmentationBuilder`; no generated record is bad.
    """

    DESCRIPTION = (
        "Generated scenes of eight textured things on textured backgrounds, with exact masks "
        "and instances."
    )

    def __init__(
        self,
        *,
        train_size: int = 400,
        val_size: int = 100,
        unlabelled_size: int = 0,
        size: int = 128,
        root: str = "",
        on_bad_record: str = "raise",
        **kwargs,
    ):
        if root:
            raise InputError(
                f"config.data.root is {root!r}, but scenes are generated. Leave it empty, or "
                "choose another dataset."
            )
        for name, value, smallest in (
            ("train_size", train_size, 1),
            ("val_size", val_size, 1),
            ("unlabelled_size", unlabelled_size, 0),
            ("size", size, _SMALLEST),
        ):
            if not isinstance(value, int) or value < smallest:
                raise InputError(
                    f"config.data.options.{name} is {value!r}, but must be an integer of at least "
                    f"{smallest}."
                )
        options = {"train_size": train_size, "val_size": val_size, "size": size}
        if unlabelled_size:
            options["unlabelled_size"] = unlabelled_size
        super().__init__(root=root, on_bad_record=on_bad_record, options=options, **kwargs)

    @property
    def class_names(self) -> tuple[str, ...]:
        return CLASS_NAMES

    def split_names(self) -> tuple[str, ...]:
        return tuple(split for split in _SPLITS if f"{split}_size" in self.options)

    def _records(self, split: str) -> Sequence[Record]:
        return [
            Record(f"{split}_{index:05d}.jpg", index)
            for index in range(self.options[f"{split}_size"])
        ]

    def _example(self, split: str, record: Record) -> Example:
        return generate(split, record.payload, self.options["size"], record.file_name)


def generate(split: str, index: int, size: int, file_name: str) -> Example:
    """Scene `index` of a split, a function of these three alone: JPEG, mask, and what
    is seen of each thing.
    """
    rng = np.random.default_rng([_SPLITS.index(split), index])
    height, width = (
        int(side) for side in rng.integers(size * 3 // 4, size * 9 // 8, 2, endpoint=True)
    )
    image, mask, things = paint_scene(rng, height, width)
    buffer = io.BytesIO()
    # Colours at full resolution: halved, they would smear across the contours.
    Image.fromarray(image).save(buffer, "JPEG", quality=95, subsampling=0)
    values = np.unique(mask)
    labels = values[values > 0].astype(np.int64) - 1
    instances = tuple(
        Instance(int(mask[things == number][0]) - 1, encode_rle(things == number))
        for number in np.unique(things[things > 0])
    )
    return Example(
        file_name, buffer.getvalue(), labels, encode_mask(mask), height, width, instances
    )
