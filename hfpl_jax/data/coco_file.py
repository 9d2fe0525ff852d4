"""Reads a COCO instances file: its categories, and its photographs with their objects.

Programs that merge or convert such files write identifiers as numbers or texts, leave
out fields and repeat entries. What can only mean one thing is taken; all else has a
sentence of its own.
"""

import dataclasses
import pathlib
from collections.abc import Sequence
from typing import Any, NamedTuple

from hfpl_jax.data.coco_categories import as_integer, list_of, names_by_id, parse, short
from hfpl_jax.data.photographs import read_bytes
from hfpl_jax.errors import InputError


class Object(NamedTuple):
    """One annotation: zero-based label, COCO's `segmentation` as it is written, whether
    it is a crowd, and how messages call it.
    """

    label: int
    segmentation: Any
    crowd: bool
    name: str


@dataclasses.dataclass
class Photograph:
    """An entry of 'images' with its objects, or the error that makes it a bad record;
    `height` and `width` are None where they are not given, as `number` is in a bad one.
    """

    file_name: str
    number: int | None = None
    height: int | None = None
    width: int | None = None
    objects: list[Object] = dataclasses.field(default_factory=list)
    error: InputError | None = None


@dataclasses.dataclass(frozen=True)
class CocoFile:
    """The photographs in their order, and the errors of annotations that belong to
    none.
    """

    photographs: list[Photograph]
    strays: list[InputError]


def read_coco_file(path: pathlib.Path, class_names: Sequence[str], why: str, cure: str) -> CocoFile:
    """Raises InputError if it is no instances file, or its categories are not among
    `class_names`.
    """
    content = parse(path, read_bytes(path, why, cure))
    images, annotations, categories = (
        list_of(content, field, path) for field in ("images", "annotations", "categories")
    )
    labels = {}
    for number, name in names_by_id(categories, path).items():
        if name not in class_names:
            raise InputError(
                f"The 'categories' of {path} name {name!r}, which is none of the "
                f"{len(class_names)} classes of the split train, so the two would not mean the "
                "same. Add it to the file of train, or remove it here."
            )
        labels[number] = class_names.index(name)
    photographs = [_photograph(image, index, path) for index, image in enumerate(images)]
    by_number = _by_number(photographs, path)
    _refuse_repeated_names(photographs, path)
    strays = []
    for index, annotation in enumerate(annotations):
        found = _owner(annotation, index, by_number, path)
        if isinstance(found, InputError):
            strays.append(found)
        elif found.error is None:
            try:
                found.objects.append(_object(annotation, index, labels, found, path))
            except InputError as error:
                found.error = error
    return CocoFile(photographs, strays)


def _photograph(image: Any, index: int, path: pathlib.Path) -> Photograph:
    where = f"{path}, images[{index}]"
    if not isinstance(image, dict):
        return Photograph(
            where, error=InputError(f"{where} is {short(image)}. It must be an object.")
        )
    name, number = image.get("file_name"), as_integer(image.get("id"))
    if not isinstance(name, str):
        fault = (
            f"has the 'file_name' {short(name)}" if "file_name" in image else "has no 'file_name'"
        )
        error = InputError(f"{where} {fault}. Give the photograph's name, as a text.")
        return Photograph(where, number, error=error)
    if number is None:
        fault = f"the 'id' {short(image['id'])}" if "id" in image else "no 'id'"
        error = InputError(
            f"{where}, {name[:100]!r}, has {fault}. Give it an integer of its own, and the same to "
            "its annotations as 'image_id'."
        )
        return Photograph(name, error=error)
    sides = {}
    for field in ("height", "width"):
        sides[field] = as_integer(image.get(field))
        if image.get(field) is not None and sides[field] is None:
            error = InputError(
                f"{where}, {name[:100]!r}, has the {field!r} {short(image[field])}. Give it in "
                "pixels, or remove the field."
            )
            return Photograph(name, number, error=error)
    return Photograph(name, number, **sides)


def _by_number(photographs: list[Photograph], path: pathlib.Path) -> dict[int, Photograph]:
    found: dict[int, Photograph] = {}
    for one in photographs:
        if one.number is None:
            continue
        other = found.setdefault(one.number, one)
        if other is not one:
            one.error = other.error = InputError(
                f"{path}: the photographs {other.file_name[:100]!r} and {one.file_name[:100]!r} "
                f"have the same 'id' {one.number}, so it is not known whose the objects are. Give "
                "each photograph an id of its own, and its annotations the same as 'image_id'."
            )
    return found


def _refuse_repeated_names(photographs: list[Photograph], path: pathlib.Path) -> None:
    found: dict[str, Photograph] = {}
    for one in photographs:
        other = found.setdefault(one.file_name, one)
        if other is not one and one.number != other.number:
            one.error = other.error = InputError(
                f"{path}: {one.file_name[:100]!r} is listed twice, with the ids {other.number} and "
                f"{one.number}, and each has a part of its objects. Give all annotations one "
                "'image_id' and remove the other entry."
            )


def _owner(
    annotation: Any, index: int, by_number: dict[int, Photograph], path: pathlib.Path
) -> Photograph | InputError:
    """The photograph of an annotation, or the error that it belongs to none."""
    if not isinstance(annotation, dict):
        return InputError(
            f"{path}, annotations[{index}] is {short(annotation)}. It must be an object."
        )
    where = f"{path}: {_name(annotation, index)}"
    if "image_id" not in annotation:
        return InputError(f"{where} has no 'image_id'. Give the 'id' of its photograph.")
    number = as_integer(annotation["image_id"])
    if number is None:
        return InputError(
            f"{where} has the 'image_id' {short(annotation['image_id'])}. Give the integer 'id' of "
            "its photograph."
        )
    if number not in by_number:
        return InputError(
            f"{where} belongs to the photograph of id {number}, which 'images' does not list. "
            "Remove the annotation, or add the photograph."
        )
    return by_number[number]


def _object(
    annotation: dict[str, Any],
    index: int,
    labels: dict[int, int],
    photograph: Photograph,
    path: pathlib.Path,
) -> Object:
    """The object of an annotation. Raises InputError."""
    name = _name(annotation, index)
    where = f"{path}, image {photograph.file_name[:100]}: {name}"
    if "category_id" not in annotation:
        raise InputError(f"{where} has no 'category_id'. Give the 'id' of one of 'categories'.")
    category = as_integer(annotation["category_id"])
    if category not in labels:
        raise InputError(
            f"{where} has category_id {short(annotation['category_id'])}, which 'categories' does "
            "not declare. Correct the annotation or add the category."
        )
    crowd = annotation.get("iscrowd") or 0
    if as_integer(int(crowd) if isinstance(crowd, bool) else crowd) not in (0, 1):
        raise InputError(f"{where} has the 'iscrowd' {short(crowd)}. It must be 0 or 1.")
    return Object(labels[category], annotation.get("segmentation"), crowd not in (0, "0"), name)


def _name(annotation: dict[str, Any], index: int) -> str:
    number = annotation.get("id")
    return f"annotation {short(number)}" if number is not None else f"annotations[{index}]"
