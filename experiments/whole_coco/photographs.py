"""A COCO of generated photographs: as many as wanted, tiny, with objects of 80 classes.

    annotations/instances_{train,val}2014.json, train2014/, val2014/

Every photograph is noise with one to five triangles of some classes, each of its class's
colour; every tenth has a crowd as well, as a run-length code.
"""

import io
import json
import pathlib
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from hfpl_jax.data.class_names import COCO_CLASSES
from hfpl_jax.runtime import atomic, progress

YEAR = "2014"
SIZES = ((64, 48), (48, 64))
"""(width, height), in turn."""
MOST_OBJECTS = 5
CROWD_EVERY = 10

_COLOURS = np.random.default_rng(0).integers(40, 216, (len(COCO_CLASSES), 3))
_SIDES = (12, 33)  # pixels of an object, from and below


def write_coco(root: pathlib.Path, counts: dict[str, int]) -> int:
    """Writes the splits of `counts`, but for those that are there already; returns the
    bytes of all photographs.
    """
    for number, (split, count) in enumerate(counts.items()):
        instances = root / "annotations" / f"instances_{split}{YEAR}.json"
        if not _is_there(instances, count):
            content = _write_photographs(root / f"{split}{YEAR}", split, count, number)
            atomic.atomic_write(instances, json.dumps(content))  # last: it says that all is there
    return sum(path.stat().st_size for path in root.glob("*/*.jpg"))


def _is_there(instances: pathlib.Path, count: int) -> bool:
    return instances.exists() and len(json.loads(instances.read_bytes())["images"]) == count


def _write_photographs(folder: pathlib.Path, split: str, count: int, seed: int) -> dict[str, Any]:
    """The content of the instances file."""
    folder.mkdir(parents=True, exist_ok=True)
    images: list[dict] = []
    annotations: list[dict] = []
    for index in progress.track(range(count), f"writing {split}", count):
        rng = np.random.default_rng((seed, index))
        size = SIZES[index % len(SIZES)]
        file_name = f"COCO_{split}{YEAR}_{index:012d}.jpg"
        jpeg, objects = photograph(rng, size, crowd=index % CROWD_EVERY == 0)
        (folder / file_name).write_bytes(jpeg)
        width, height = size
        images.append({"id": index, "file_name": file_name, "height": height, "width": width})
        annotations += [
            {"id": len(annotations) + number, "image_id": index, **one}
            for number, one in enumerate(objects)
        ]
    categories = [{"id": 1 + label, "name": name} for label, name in enumerate(COCO_CLASSES)]
    return {"images": images, "annotations": annotations, "categories": categories}


def photograph(
    rng: np.random.Generator, size: tuple[int, int], *, crowd: bool
) -> tuple[bytes, list[dict]]:
    """A JPEG and its annotations, without identifiers; of the size (width, height)."""
    width, height = size
    pixels = rng.integers(0, 256, (height // 4, width // 4, 3), np.uint8)
    picture = Image.fromarray(pixels).resize(size)
    draw, objects = ImageDraw.Draw(picture), []
    for _ in range(rng.integers(1, 1 + MOST_OBJECTS)):
        label, side = int(rng.integers(len(COCO_CLASSES))), int(rng.integers(*_SIDES))
        x, y = int(rng.integers(width - side)), int(rng.integers(height - side))
        corners = [x, y, x + side, y, x + side // 2, y + side]
        draw.polygon(corners, fill=tuple(_COLOURS[label].tolist()))
        objects.append(_annotation(label, [corners], 0))
    if crowd:
        rows = height // 8  # the lowest ones of each column
        counts = [height - rows, rows] * width
        objects.append(_annotation(0, {"size": [height, width], "counts": counts}, 1))
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=90)
    return file.getvalue(), objects


def _annotation(label: int, segmentation: Any, crowd: int) -> dict[str, Any]:
    return {"category_id": 1 + label, "segmentation": segmentation, "iscrowd": crowd}
