"""Pseudo-labels as one COCO JSON file with run-length encoded masks."""

import json
import pathlib
from collections.abc import Iterable, Sequence

import numpy as np
from pycocotools import mask as coco_mask

from hfpl_jax.atomic import atomic_write
from hfpl_jax.export.pseudo_label import IGNORE, PseudoLabel
from hfpl_jax.export.staging import writing


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
    with writing(path):  # now rather than after all the work
        directory.mkdir(parents=True, exist_ok=True)
    images, annotations = [], []
    for image_id, pseudo_label in enumerate(pseudo_labels, start=1):
        mask, confidence = pseudo_label.mask, pseudo_label.confidence
        height, width = mask.shape
        image = {
            "id": image_id, "file_name": pseudo_label.file_name, "height": height, "width": width,
            "category_ids": [label + 1 for label in pseudo_label.labels], "ignore": encode_rle(mask == IGNORE),
        }  # fmt: skip
        images.append(image)
        for category in np.flatnonzero(np.bincount(mask.ravel(), minlength=256)[:IGNORE]).tolist():
            if category == 0:
                continue
            region = mask == category
            rle = encode_rle(region)
            annotation = {
                "id": len(annotations) + 1, "image_id": image_id, "category_id": category, "segmentation": rle,
                "area": int(coco_mask.area(rle)), "bbox": coco_mask.toBbox(rle).tolist(), "iscrowd": 0,
            }  # fmt: skip
            if confidence is not None:
                annotation["score"] = float(confidence[region].mean(dtype=np.float64)) / 255
            annotations.append(annotation)
    content = {
        "info": {"description": f"Pseudo-labels of split {split}, made from image labels"},
        "licenses": [],
        "categories": [{"id": i, "name": name, "supercategory": ""} for i, name in enumerate(class_names, start=1)],
        "images": images,
        "annotations": annotations,
    }
    atomic_write(path, json.dumps(content))
    return path
