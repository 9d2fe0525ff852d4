"""Pseudo-labels as COCO JSON files with run-length encoded masks: one of semantic regions
and, where there are instances, one of these.
"""

import itertools
import json
import pathlib
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
from pycocotools import mask as coco_mask

from hfpl_jax.errors import InputError
from hfpl_jax.export.pseudo_label import PseudoLabel
from hfpl_jax.export.staging import replace_folder, write_file
from hfpl_jax.instance import encode_rle
from hfpl_jax.masks import IGNORE
from hfpl_jax.runtime.atomic import atomic_path, writing


class CocoWriter:
    """Writes `directory`/`split`.json, which `pycocotools.coco.COCO` loads, and the
    photographs, where given, into `directory`/images/`split`; the file is there only when
    all the others are.

    Categories are the foreground classes, numbered from 1 as in the mask. One
    annotation for each photograph and class with pixels: a semantic region, not an
    instance; `score` is its mean confidence in [0, 1], where confidence is given.
    Ignored pixels are no annotation (COCO's crowd regions belong to one category, these
    to none): they are the image's `ignore`, a run-length encoding, and everything
    outside it and the annotations is background. `category_ids` of an image are its
    image-level labels.

    Instances, where given, are the annotations of `directory`/`split`.instances.json,
    with the same numbers of images and categories: whoever trains or evaluates on
    things takes every annotation of a file for one, so regions may not stand among
    them. A split cannot be called `split`.instances, so no two write one file. `score`
    is the instance's own, and `peak` the point [x, y] that it was found at.

    A part is a file with a line for each photograph: its image, its annotations and its
    instances, still without numbers. All of them together are never held in memory.

    Raises:
      InputError: the file cannot be written; instances given for some and missing for
        others.
    """

    def __init__(self, directory: pathlib.Path, *, class_names: Sequence[str], split: str):
        self.path = directory / f"{split}.json"
        self._instances = directory / f"{split}.instances.json"
        self._class_names, self._split = class_names, split

    def write_part(
        self, folder: pathlib.Path, part: int, pseudo_labels: Iterable[PseudoLabel]
    ) -> list[tuple[str, bool]]:
        """A fact is whether instances are given."""
        path, facts = _part(folder, part), []
        with writing(path):
            folder.mkdir(parents=True, exist_ok=True)
            with open(path, "w") as file:
                for one in pseudo_labels:
                    if one.image is not None:
                        write_file(folder / "images" / one.file_name, one.image)
                    file.write(json.dumps([_image(one), _regions(one), _things(one)]) + "\n")
                    facts.append((one.file_name, one.instances is not None))
        return facts

    def publish(self, folder: pathlib.Path, facts: dict[str, bool]) -> None:
        if len(set(facts.values())) > 1:
            without = next(name for name, given in facts.items() if not given)
            raise InputError(
                f"The pseudo-label of {without} lacks `instances`, unlike others. Give them for "
                "all photographs or for none."
            )
        for path in (self.path, self._instances):  # what says that the rest is whole
            with writing(path):
                path.unlink(missing_ok=True)
        replace_folder(folder / "images", self.path.parent / "images" / self._split)
        if all(facts.values()):
            self._write(self._instances, "Instances", folder, len(facts), 1)
        self._write(self.path, "Pseudo-labels", folder, len(facts), 0)

    def _write(
        self, path: pathlib.Path, what: str, folder: pathlib.Path, total: int, listed: int
    ) -> None:
        """A file of all images with the annotations that their lines list there."""
        head = {
            "info": {"description": f"{what} of split {self._split}, made from image labels"},
            "licenses": [],
            "categories": [
                {"id": i, "name": name, "supercategory": ""}
                for i, name in enumerate(self._class_names, start=1)
            ],
        }
        images = ({"id": image_id, **image} for image_id, image, _ in _read_parts(folder, total))
        annotations = (
            {"image_id": image_id, **one}
            for image_id, _, of_image in _read_parts(folder, total)
            for one in of_image[listed]
        )
        with atomic_path(path) as temporary, open(temporary, "w") as file:
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


def _read_parts(
    folder: pathlib.Path, total: int
) -> Iterator[tuple[int, dict, tuple[list[dict], list[dict]]]]:
    """Number, image, and regions and instances of each of the `total` photographs."""
    image_id = 0
    for part in itertools.count():
        if image_id == total:
            return
        with open(_part(folder, part)) as file:
            for line in file:
                image_id += 1
                image, *listed = json.loads(line)
                yield image_id, image, tuple(listed)


def _image(pseudo_label: PseudoLabel) -> dict:
    """Its entry of `images`, without the number that the others decide."""
    height, width = pseudo_label.mask.shape
    return {
        "file_name": pseudo_label.file_name,
        "height": height,
        "width": width,
        "category_ids": [label + 1 for label in pseudo_label.labels],
        "ignore": encode_rle(pseudo_label.mask == IGNORE),
    }


def _regions(pseudo_label: PseudoLabel) -> list[dict]:
    """One annotation for each class with pixels, without numbers."""
    mask, confidence = pseudo_label.mask, pseudo_label.confidence
    annotations = []
    for category in np.flatnonzero(np.bincount(mask.ravel(), minlength=256)[:IGNORE]).tolist():
        if category == 0:
            continue
        region = mask == category
        annotation = _annotation(category, encode_rle(region))
        if confidence is not None:
            annotation["score"] = float(confidence[region].mean(dtype=np.float64)) / 255
        annotations.append(annotation)
    return annotations


def _things(pseudo_label: PseudoLabel) -> list[dict]:
    """One annotation for each instance, without numbers."""
    return [
        {
            **_annotation(one.label + 1, one.segmentation),
            "score": one.score,
            "peak": list(reversed(one.peak or ())),  # a found one has it
        }
        for one in pseudo_label.instances or ()
    ]


def _annotation(category: int, rle: dict) -> dict:
    return {
        "category_id": category,
        "segmentation": rle,
        "area": int(coco_mask.area(rle)),
        "bbox": coco_mask.toBbox(rle).tolist(),
        "iscrowd": 0,
    }
