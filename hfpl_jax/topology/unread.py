"""What stands for a dataset that is not read: as many black photographs as it has, of the
size of its largest.
"""

import dataclasses
import functools
import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from PIL import Image

from hfpl_jax.data.class_names import COCO_CLASSES, VOC_CLASSES
from hfpl_jax.data.example import Example, encode_mask
from hfpl_jax.data.scene_painter import CLASS_NAMES
from hfpl_jax.errors import InputError

_CLASSES, _PHOTOGRAPHS, _SIDE = 20, 1000, 512
"""Of one's own photographs, of which nothing is known before they are read."""

OF_A_PHOTOGRAPH = 8
"""Classes on one photograph, of which few have so many."""

_VOC = {"train": 1464, "trainaug": 10582, "val": 1449}
_COCO = {"2014": {"train": 82783, "val": 40504}, "2017": {"train": 118287, "val": 5000}}


@functools.cache
def _picture(side: int) -> tuple[bytes, bytes]:
    """A black photograph and its mask."""
    png = io.BytesIO()
    Image.fromarray(np.zeros((side, side, 3), np.uint8)).save(png, "PNG")
    return png.getvalue(), encode_mask(np.zeros((side, side), np.uint8))


@dataclasses.dataclass(frozen=True)
class UnreadSplit(Sequence[Example]):
    """Black squares of `side` pixels, each with a class and a mask."""

    name: str
    length: int
    side: int
    num_classes: int

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> Example:
        index = range(self.length)[index]
        image, mask = _picture(self.side)
        label = np.asarray([index % self.num_classes], np.int64)
        return Example(f"{index}.png", image, label, mask, self.side, self.side)


@dataclasses.dataclass(frozen=True)
class Unread:
    """In place of a `Dataset`.

    Attributes:
      lengths: photographs of each split; those of others are a guess.
      side: pixels of the longest side of a photograph.
      guessed: whether classes and side are guesses.
    """

    class_names: tuple[str, ...]
    lengths: Mapping[str, int]
    side: int
    guessed: bool = False

    @classmethod
    def of(cls, data: Mapping[str, Any]) -> "Unread":
        """Of the section config.data, as far as its fields tell."""
        options = dict(data["options"])
        if data["name"] == "voc_seg":
            return cls(VOC_CLASSES, _VOC, 500)
        if data["name"] == "coco_seg":
            return cls(COCO_CLASSES, _COCO[options.get("year", "2017")], 640)
        if data["name"] == "scenes":
            lengths = {"train": options.get("train_size", 400), "val": options.get("val_size", 100)}
            return cls(CLASS_NAMES, lengths, options.get("size", 128) * 9 // 8)
        return cls(tuple(f"class {number}" for number in range(1, _CLASSES + 1)), {}, _SIDE, True)

    def split(self, name: str) -> UnreadSplit:
        if not name:
            raise InputError("A split that is not named cannot be counted.")
        length = self.lengths.get(name, _PHOTOGRAPHS)
        return UnreadSplit(name, length, self.side, len(self.class_names))

    def said(self, splits: Sequence[str]) -> str:
        """What is taken for granted of these splits, in a sentence."""
        counts = ", ".join(f"{name} {len(self.split(name)):,}" for name in splits)
        guess = self.guessed or any(name not in self.lengths for name in splits)
        return (
            f"No photograph is read: {len(self.class_names)} classes, photographs of at most "
            f"{self.side}x{self.side} pixels, {counts} of them"
            f"{', all of it a guess' if guess else ''}."
        )
