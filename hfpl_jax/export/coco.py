"""Pseudo-labels as one COCO JSON file with run-length encoded masks."""

import json
import pathlib
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from pycocotools import mask as coco_mask

from hfpl_jax.atomic import atomic_write
from hfpl_jax.export.pseudo_label import IGNORE, PseudoLabel


def encode_rle(region: np.ndarray) -> dict:
    """bool [h, w] -> COCO's compressed run-length encoding, `{"size": [h, w], "counts": str}`."""
    rle = coco_mask.encode(np.asfortranarray(region, np.uint8))
    return {"size": [int(side) for side in rle["size"]], "counts": rle["counts"].decode("ascii")}


class CocoWriter:
    """Writes `directory`/`split`.json, which `pycocotools.coco.COCO` loads.

    Categories are the foreground classes, numbered from 1 as in the mask. One annotation for each photograph and class with pixels:
    a semantic region, not an instance; `score` is its mean confidence in [0, 1], where confidence is given. Ignored pixels are no
    annotation (COCO's crowd regions belong to one category, these to none): they are the image's `ignore`, a run-length encoding,
    and everything outside it and the annotations is background. `category_ids` of an image are its image-level labels.

    A part is the images and annotations of its photographs, still without numbers.

    Raises:
      InputError: the file cannot be written.
    """

    def __init__(self, directory: pathlib.Path, *, class_names: Sequence[str], split: str):
        self.path = directory / f"{split}.json"
        self._class_names, self._split = class_names, split

    def write_part(self, folder: pathlib.Path, part: int, pseudo_labels: Iterable[PseudoLabel]) -> list[tuple[str, Any]]:
        return [(pseudo_label.file_name, _image_and_annotations(pseudo_label)) for pseudo_label in pseudo_labels]

    def publish(self, folder: pathlib.Path, facts: dict[str, Any]) -> None:
        images, annotations = [], []
        for image_id, (image, of_image) in enumerate(facts.values(), start=1):
            images.append({"id": image_id, **image})
            for annotation in of_image:
                annotations.append({"id": len(annotations) + 1, "image_id": image_id, **annotation})
        content = {
            "info": {"description": f"Pseudo-labels of split {self._split}, made from image labels"},
            "licenses": [],
            "categories": [{"id": i, "name": name, "supercategory": ""} for i, name in enumerate(self._class_names, start=1)],
            "images": images,
            "annotations": annotations,
        }
        atomic_write(self.path, json.dumps(content))


def _image_and_annotations(pseudo_label: PseudoLabel) -> tuple[dict, list[dict]]:
    """One photograph's entry of `images` and its entries of `annotations`, without the numbers that the others decide."""
    mask, confidence = pseudo_label.mask, pseudo_label.confidence
    height, width = mask.shape
    image = {
        "file_name": pseudo_label.file_name, "height": height, "width": width,
        "category_ids": [label + 1 for label in pseudo_label.labels], "ignore": encode_rle(mask == IGNORE),
    }  # fmt: skip
    annotations = []
    for category in np.flatnonzero(np.bincount(mask.ravel(), minlength=256)[:IGNORE]).tolist():
        if category == 0:
            continue
        region = mask == category
        rle = encode_rle(region)
        annotation = {
            "category_id": category, "segmentation": rle, "area": int(coco_mask.area(rle)), "bbox": coco_mask.toBbox(rle).tolist(),
            "iscrowd": 0,
        }  # fmt: skip
        if confidence is not None:
            annotation["score"] = float(confidence[region].mean(dtype=np.float64)) / 255
        annotations.append(annotation)
    return image, annotations
