"""Writes datasets of a few tiny photographs in the official layouts."""

import io
import json
import pathlib
import zlib

import numpy as np
from PIL import Image

from hfpl_jax.data.class_names import COCO_CLASSES, VOC_CLASSES

HEIGHT, WIDTH = 20, 30


def jpeg(seed: int = 0, size: tuple[int, int] = (WIDTH, HEIGHT)) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 255, (size[1], size[0], 3), np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG")
    return buffer.getvalue()


def write(path: pathlib.Path, data: bytes | str) -> pathlib.Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data.encode() if isinstance(data, str) else data)
    return path


def write_mask(path: pathlib.Path, values: np.ndarray, palette: bool = True) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(values.astype(np.uint8))
    if palette:
        image.putpalette([(37 * i + 11) % 256 for i in range(768)])
    image.save(path)


def square_mask(value: int) -> np.ndarray:
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    mask[4:12, 5:15] = 255
    mask[5:11, 6:14] = value
    return mask


def annotation(*names: str) -> str:
    return (
        "<annotation>"
        + "".join(f"<object><name>{name}</name></object>" for name in names)
        + "</annotation>"
    )


def make_voc(root: pathlib.Path, splits: dict[str, dict[str, tuple[str, ...]]]) -> pathlib.Path:
    """`splits` maps a split to {photograph: object names}; every photograph gets a mask
    of its first object.
    """
    for split, photographs in splits.items():
        write(root / "ImageSets/Segmentation" / f"{split}.txt", "\n".join(photographs) + "\n")
        for name, objects in photographs.items():
            write(root / "JPEGImages" / f"{name}.jpg", jpeg(zlib.crc32(name.encode())))
            write(root / "Annotations" / f"{name}.xml", annotation(*objects))
            known = [name.lower() for name in objects if name.lower() in VOC_CLASSES]
            mask = square_mask(1 + VOC_CLASSES.index(known[0]) if known else 1)
            write_mask(root / "SegmentationClass" / f"{name}.png", mask)
    return root


def box(x0: float, y0: float, x1: float, y1: float) -> list[list[float]]:
    """Polygon of the pixels [y0, y1) x [x0, x1)."""
    return [[x0, y0, x1, y0, x1, y1, x0, y1]]


COCO_CATEGORIES = [{"id": 2 * label + 1, "name": name} for label, name in enumerate(COCO_CLASSES)]


def make_coco(
    root: pathlib.Path,
    split: str,
    photographs: dict[int, list[dict]],
    *,
    year: str = "2017",
    folder: str = "",
) -> dict:
    """`photographs` maps an identifier to annotations (category_id, segmentation,
    iscrowd); returns the content of the instances file.
    """
    images, annotations = [], []
    for number, objects in photographs.items():
        name = f"{number:012d}.jpg"
        write(root / (folder or f"{split}{year}") / name, jpeg(number))
        images.append(
            {
                "id": number,
                "file_name": f"COCO_{split}2014_{name}" if year == "2014" else name,
                "height": HEIGHT,
                "width": WIDTH,
            }
        )
        for item in objects:
            annotations.append(
                {"id": len(annotations) + 1, "image_id": number, "iscrowd": 0, "area": 1.0, **item}
            )
    content = {"images": images, "annotations": annotations, "categories": COCO_CATEGORIES}
    write(root / "annotations" / f"instances_{split}{year}.json", json.dumps(content))
    return content


def make_folder(
    root: pathlib.Path, labels: str, names: tuple[str, ...], label_file: str = "labels.csv"
) -> pathlib.Path:
    for seed, name in enumerate(names):
        write(root / name, jpeg(seed))
    write(root / label_file, labels)
    return root


def config(name: str, root: pathlib.Path, **fields) -> dict:
    return {
        "name": name,
        "root": str(root),
        "on_bad_record": "raise",
        "options": {},
        "train_split": "",
        "val_split": "",
        **fields,
    }
