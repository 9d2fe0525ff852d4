"""Pseudo-labels as one COCO JSON file with run-length encoded masks."""

import itertools
import json
import pathlib
import shutil
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
from pycocotools import mask as coco_mask

from hfpl_jax.export.pseudo_label import PseudoLabel
from hfpl_jax.export.staging import replace_folder, write_file
from hfpl_jax.instance import encode_rle
from hfpl_jax.masks import IGNORE
from hfpl_jax.runtime.atomic import atomic_path, writing


class CocoWriter:
    """Writes `directory`/`split`.json, which `pycocotools.coco.COCO` loads, and the
    photographs, where given, into `directory`/images/`split`.

    Categories are the foreground classes, numbered from 1 as in the mask. One
    annotation for each photograph and class with pixels: a semantic region, not an
    instance; `score` is its mean confidence in [0, 1], where confidence is given.
    Ignored pixels are no annotation (COCO's crowd regions belong to one category, these
    to none): they are the image's `ignore`, a run-length encoding, and everything
    outside it and the annotations is background. `category_ids` of an image are its
    image-level labels.

    A part is a file with a line for each photograph: its image and its annotations,
    still without numbers. All of them together are never held in memory.

    Raises:
      InputError: the file cannot be written.
    """

    def __init__(self, directory: pathlib.Path, *, class_names: Sequence[str], split: str):
        self.path = directory / f"{split}.json"
        self._class_names, self._split = class_names, split

    def write_part(
        self, folder: pathlib.Path, part: int, pseudo_labels: Iterable[PseudoLabel]
    ) -> list[tuple[str, None]]:
        path, names = _part(folder, part), []
        with writing(path):
            folder.mkdir(parents=True, exist_ok=True)
            with open(path, "w") as file:
                for pseudo_label in pseudo_labels:
                    if pseudo_label.image is not None:
                        write_file(folder / "images" / pseudo_label.file_name, pseudo_label.image)
                    file.write(json.dumps(_image_and_annotations(pseudo_label)) + "\n")
                    names.append((pseudo_label.file_name, None))
        return names

    def publish(self, folder: pathlib.Path, facts: dict[str, None]) -> None:
        head = {
            "info": {
                "description": f"Pseudo-labels of split {self._split}, made from image labels"
            },
            "licenses": [],
            "categories": [
                {"id": i, "name": name, "supercategory": ""}
                for i, name in enumerate(self._class_names, start=1)
            ],
        }
        images = (
            {"id": image_id, **image} for image_id, image, _ in _read_parts(folder, len(facts))
        )
        annotations = (
            {"image_id": image_id, **one}
            for image_id, _, of_image in _read_parts(folder, len(facts))
            for one in of_image
        )
        photographs = self.path.parent / "images" / self._split
        if (folder / "images").exists():
            with writing(photographs):
                photographs.parent.mkdir(exist_ok=True)
            replace_folder(folder / "images", photographs)
        else:
            shutil.rmtree(photographs, ignore_errors=True)  # those of an earlier export
        with atomic_path(self.path) as temporary, open(temporary, "w") as file:
            file.write(f'{json.dumps(head)[:-1]}, "images": [')
            file.writelines(
                ", " * (position > 0) + json.dumps(image) for position, image in enumerate(images)
            )
            file.write('], "annotations": [')
            file.writelines(
                ", " * (position > 0) + json.dumps({"id": position + 1, **one})
                for position, one in enumerate(annotations)
            )
            file.write("]}")


def _part(folder: pathlib.Path, part: int) -> pathlib.Path:
    return folder / f"{part:05d}.jsonl"


def _read_parts(folder: pathlib.Path, total: int) -> Iterator[tuple[int, dict, list[dict]]]:
    """Number, image and annotations of each of the `total` photographs."""
    image_id = 0
    for part in itertools.count():
        if image_id == total:
            return
        with open(_part(folder, part)) as file:
            for line in file:
                image_id += 1
                yield image_id, *json.loads(line)


def _image_and_annotations(pseudo_label: PseudoLabel) -> tuple[dict, list[dict]]:
    """One photograph's entry of `images` and its entries of `annotations`, without the
    numbers that the others decide.
    """
    mask, confidence = pseudo_label.mask, pseudo_label.confidence
    height, width = mask.shape
    image = {
        "file_name": pseudo_label.file_name,
        "height": height,
        "width": width,
        "category_ids": [label + 1 for label in pseudo_label.labels],
        "ignore": encode_rle(mask == IGNORE),
    }
    annotations = []
    for category in np.flatnonzero(np.bincount(mask.ravel(), minlength=256)[:IGNORE]).tolist():
        if category == 0:
            continue
        region = mask == category
        rle = encode_rle(region)
        annotation = {
            "category_id": category,
            "segmentation": rle,
            "area": int(coco_mask.area(rle)),
            "bbox": coco_mask.toBbox(rle).tolist(),
            "iscrowd": 0,
        }
        if confidence is not None:
            annotation["score"] = float(confidence[region].mean(dtype=np.float64)) / 255
        annotations.append(annotation)
    return image, annotations
