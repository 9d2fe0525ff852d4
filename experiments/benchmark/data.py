"""Training batches from photographs, and PNG files from pseudo-labels: ours, and the
plain way, one photograph after another.
"""

import itertools
import pathlib
import tempfile
import threading

import grain
import numpy as np
from PIL import Image, ImageEnhance

from experiments.benchmark import inputs
from experiments.benchmark.inputs import CLASSES
from experiments.benchmark.side import Side
from hfpl_jax.data.batches import TrainCrop, batch_stream
from hfpl_jax.data.example import Example, decode_image
from hfpl_jax.data.transforms.color_jitter import random_adjustments
from hfpl_jax.data.transforms.train_crop import (
    random_crop,
    random_flip,
    random_resize_long,
    train_crop,
)
from hfpl_jax.export import PseudoLabel, export
from hfpl_jax.masks import voc_palette
from hfpl_jax.models.preprocess import IMAGENET_MEAN, IMAGENET_STD
from hfpl_jax.runtime import allocator

PHOTOGRAPHS = 8
SPLIT = 4096
"""Elements of the split that the photographs stand for: Grain's shuffle of eight alone
takes 2 ms an element, of thousands 4 to 6 us.
"""


def resize_range(crop: int) -> tuple[int, int]:
    """448 ... 768 for a crop of 448 pixels, as published."""
    return crop, crop * 12 // 7


def examples() -> list[Example]:
    return [
        inputs.example(index, *((375, 500) if index % 3 else (500, 375)))
        for index in range(PHOTOGRAPHS)
    ]


def normalized(crop: np.ndarray, valid: np.ndarray) -> np.ndarray:
    return (crop / np.float32(255.0) - IMAGENET_MEAN) / IMAGENET_STD * valid[..., None]


def _turn_hue(image: Image.Image, turn: float) -> Image.Image:
    hue, saturation, value = image.convert("HSV").split()
    turned = np.asarray(hue) + np.uint8(int(turn * 255) % 256)
    return Image.merge("HSV", (Image.fromarray(turned), saturation, value)).convert("RGB")


_JITTER = {
    "brightness": lambda image, factor: ImageEnhance.Brightness(image).enhance(factor),
    "contrast": lambda image, factor: ImageEnhance.Contrast(image).enhance(factor),
    "saturation": lambda image, factor: ImageEnhance.Color(image).enhance(factor),
    "hue": _turn_hue,
}


def whole_jittered(random: np.random.Generator, image: np.ndarray) -> np.ndarray:
    """Of all pixels, as torchvision's ColorJitter calls Pillow; the draws are ours."""
    photo = Image.fromarray(image)
    for kind, amount in random_adjustments(random):
        photo = _JITTER[kind](photo, amount)
    return np.asarray(photo)


class _CropsOfARun(grain.transforms.RandomMap):
    """As many crops as a run needs, then `spare`: what an endless stream reads ahead of
    the run's end costs nothing.
    """

    def __init__(self, crop: TrainCrop, count: int, spare: dict[str, np.ndarray]):
        self._crop, self._left, self._spare, self._lock = crop, count, spare, threading.Lock()

    def random_map(self, element: Example, rng: np.random.Generator) -> dict[str, np.ndarray]:
        with self._lock:
            self._left -= 1
            needed = self._left >= 0
        return self._crop.random_map(element, rng) if needed else self._spare


def input_pipeline(batches: int, batch: int, crop: int) -> Side:
    """Ours: read ahead by threads. The numbers are a crop of a given generator."""
    allocator.spare_memory()  # as the command does
    photographs, train_crop_of = examples(), TrainCrop(CLASSES, crop, resize_range(crop))
    split = photographs * (SPLIT // PHOTOGRAPHS)
    spare = train_crop_of.random_map(photographs[0], np.random.default_rng(0))

    def run() -> list[dict[str, np.ndarray]]:
        crops = _CropsOfARun(train_crop_of, batches * batch, spare)
        stream = batch_stream(split, crops, batch_size=batch, seed=0)
        made = list(itertools.islice(stream, batches))
        stream.close()
        return made

    def numbers(_) -> dict[str, np.ndarray]:
        image = decode_image(photographs[0].image, photographs[0].file_name)
        return {
            "crop": normalized(
                *train_crop(
                    np.random.default_rng(0), image, crop_size=crop, resize_range=resize_range(crop)
                )
            )
        }

    return Side(run, numbers, images=batches * batch)


def one_after_another(batches: int, batch: int, crop: int) -> Side:
    """The same crops without reading ahead, jittered as a whole and normalised on the
    host as the published program does."""
    photographs, random = examples(), np.random.default_rng(1)
    endless = itertools.cycle(photographs)

    def one(random: np.random.Generator, example: Example) -> np.ndarray:
        image = decode_image(example.image, example.file_name)
        image = random_flip(random, random_resize_long(random, image, *resize_range(crop)))
        return normalized(*random_crop(random, whole_jittered(random, image), crop))

    def run() -> list[np.ndarray]:
        return [
            np.stack([one(random, example) for example in itertools.islice(endless, batch)])
            for _ in range(batches)
        ]

    return Side(
        run,
        lambda _: {"crop": one(np.random.default_rng(0), photographs[0])},
        images=batches * batch,
    )


def _pseudo_labels(photographs: int, height: int, width: int) -> list[PseudoLabel]:
    made = []
    for index in range(photographs):
        mask = inputs.photograph(index, height, width)[1]
        confidence = (
            255 * inputs.smooth(np.random.default_rng(index), height, width, 1)[..., 0]
        ).astype(np.uint8)
        made.append(
            PseudoLabel(
                f"{index}.jpg",
                None,
                tuple(int(label) - 1 for label in np.setdiff1d(mask, [0])),
                mask,
                confidence,
            )
        )
    return made


def _read(folder: pathlib.Path, photographs: int) -> dict[str, np.ndarray]:
    return {
        name: np.stack(
            [np.array(Image.open(folder / name / f"{index}.png")) for index in range(photographs)]
        ).astype(np.int64)
        for name in ("masks", "confidence")
    }


def export_png(photographs: int, height: int, width: int) -> Side:
    """Ours: all or nothing, checked."""
    labels, folder = _pseudo_labels(photographs, height, width), tempfile.TemporaryDirectory()
    names = [f"class{index}" for index in range(CLASSES)]

    def run() -> pathlib.Path:
        return export(labels, {"png": folder.name}, class_names=names, split="train")["png"]

    return Side(run, lambda path: _read(path, photographs), images=photographs)


def save_png(photographs: int, height: int, width: int) -> Side:
    """Pillow's own way of saving, file by file."""
    labels, folder = _pseudo_labels(photographs, height, width), tempfile.TemporaryDirectory()
    path, palette = pathlib.Path(folder.name), voc_palette().tobytes()
    for name in ("masks", "confidence"):
        (path / name).mkdir()

    def run(folder=folder) -> pathlib.Path:
        for index, label in enumerate(labels):
            mask = Image.fromarray(label.mask)
            mask.putpalette(palette)
            mask.save(path / "masks" / f"{index}.png")
            Image.fromarray(label.confidence).save(path / "confidence" / f"{index}.png")
        return path

    return Side(run, lambda path: _read(path, photographs), images=photographs)
