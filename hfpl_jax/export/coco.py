"""Pseudo-labels as one COCO JSON file with run-length encoded masks."""

import json
import pathlib
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
from pycocotools import mask as coco_mask

from hfpl_jax.atomic import atomic_path
from hfpl_jax.export.pseudo_label import IGNORE, PseudoLabel


def encode_rle(region: np.ndarray) -> dict:
    """bool [h, w] -> COCO's compressed run-length encoding, `{"size": [h, w], "counts": str}`."""
    rle = coco_mask.encode(np.asfortranarray(region, np.uint8))
    return {"size": [int(side) for side in rle["size"]], "counts": rle["counts"].decode("ascii")}


def write(pseudo_labels: Iterable[PseudoLabel], directory: pathlib.Path, *, class_names: Sequence[str], split: str) -> pathlib.Path:
    """Writes `directory`/`split`.json, which `pycocotools.coco.COCO` loads, and returns it.

    Categories are the foreground classes, numbered from 1 as in the mask. One annotation for each photograph and class with pixels:
    a semantic region, not an instance; `score` is its mean confidence in [0, 1], where confidence is given. Ignored pixels are no
    annotation (COCO's crowd regions belong to one category, these to none): they are the image's `ignore`, a run-length encoding,
    and everything outside it and the annotations is background. `category_ids` of an image are its image-level labels.

    Raises:
      InputError: the file cannot be written.
    """
    path = directory / f"{split}.json"
    head = {
        "info": {"description": f"Pseudo-labels of split {split}, made from image labels"},
        "licenses": [],
        "categories": [{"id": i, "name": name, "supercategory": ""} for i, name in enumerate(class_names, start=1)],
    }
    # Both lists grow photograph by photograph and are never held in memory; the second waits in a file without a name.
    with atomic_path(path) as temporary, open(temporary, "w") as images, tempfile.TemporaryFile("w+", dir=directory) as annotations:
        images.write(f'{json.dumps(head)[:-1]}, "images": [')
        written = 0
        for image_id, pseudo_label in enumerate(pseudo_labels, start=1):
            images.write(", " * (image_id > 1) + json.dumps(_image(image_id, pseudo_label)))
            for annotation in _annotations(image_id, pseudo_label):
                written += 1
                annotations.write(", " * (written > 1) + json.dumps({"id": written, **annotation}))
        images.write('], "annotations": [')
        annotations.seek(0)
        shutil.copyfileobj(annotations, images)
        images.write("]}")
    return path


def _image(image_id: int, pseudo_label: PseudoLabel) -> dict:
    height, width = pseudo_label.mask.shape
    return {
        "id": image_id, "file_name": pseudo_label.file_name, "height": height, "width": width,
        "category_ids": [label + 1 for label in pseudo_label.labels], "ignore": encode_rle(pseudo_label.mask == IGNORE),
    }  # fmt: skip


def _annotations(image_id: int, pseudo_label: PseudoLabel) -> Iterator[dict]:
    mask, confidence = pseudo_label.mask, pseudo_label.confidence
    for category in np.flatnonzero(np.bincount(mask.ravel(), minlength=256)[:IGNORE]).tolist():
        if category == 0:
            continue
        region = mask == category
        rle = encode_rle(region)
        annotation = {
            "image_id": image_id, "category_id": category, "segmentation": rle,
            "area": int(coco_mask.area(rle)), "bbox": coco_mask.toBbox(rle).tolist(), "iscrowd": 0,
        }  # fmt: skip
        if confidence is not None:
            annotation["score"] = float(confidence[region].mean(dtype=np.float64)) / 255
        yield annotation
