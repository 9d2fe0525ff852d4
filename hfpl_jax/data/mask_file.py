"""Finds and reads the mask file of a photograph."""

import io
import pathlib
from collections.abc import Collection

import numpy as np
from PIL import Image

from hfpl_jax.data.example import decode_mask
from hfpl_jax.data.find_file import Finder, normal
from hfpl_jax.data.mask_agreement import values_in
from hfpl_jax.data.name_checks import is_inside
from hfpl_jax.data.photographs import check_mask, read_bytes
from hfpl_jax.errors import InputError
from hfpl_jax.masks import IGNORE


def find_mask(masks: Finder, name: str, file_name: str, others: Collection[str]) -> pathlib.Path:
    """The file of a photograph's mask, in whatever case its extension is written; where
    there is none, where it should be.

    Args:
      masks: of the folder of masks.
      name: of the mask, with the extension .png.
      file_name: of the photograph.
      others: names of the masks of all photographs, see `normal`.

    Raises:
      InputError: there are two, or one that may be meant.
    """
    if not is_inside(name):
        return masks.folder / name  # its photograph is refused for its name
    same, alike = masks.in_any_case(name)
    if len(same) > 1:
        raise InputError(
            f"{file_name} has two masks in {masks.folder}, {same[0]!r} and {same[1]!r}, whose "
            "names differ only in the case of the extension. Remove one of them."
        )
    alike = [
        other
        for other in alike
        if normal(str(pathlib.PurePath(other).with_suffix(".png"))) not in others
    ]
    if alike and not same:
        raise InputError(
            f"{file_name} has no mask {name!r} in {masks.folder}, but {alike[0]!r} differs only in "
            "the case of its letters. Give photograph and mask the same name, in the same case."
        )
    return masks.folder / same[0] if same else masks.find(name)


def read_mask(
    path: pathlib.Path, file_name: str, height: int, width: int, num_classes: int
) -> np.ndarray:
    """The class values uint8 [height, width] in the mask of a photograph of this size.

    Raises:
      InputError: there is none, it is damaged, of another size or kind, or has colours
        that contradict its values.
    """
    data = read_bytes(path, f"it is the mask of {file_name}")
    mask = check_mask(decode_mask(data, str(path)), path, height, width, num_classes)
    _check_palette(data, path, values_in(mask))
    return mask


def _check_palette(data: bytes, path: pathlib.Path, values: list[int]) -> None:
    """Refuses a palette in which a class is black and the background is not: programs
    that make a palette themselves number its colours as they please.
    """
    with Image.open(io.BytesIO(data), formats=("PNG",)) as opened:
        raw = opened.palette.palette if opened.mode == "P" else b""
    colours = [tuple(raw[at : at + 3]) for at in range(0, len(raw) - 2, 3)]
    black = [
        value
        for value in values
        if 0 < value < min(IGNORE, len(colours)) and not any(colours[value])
    ]
    if black and 0 in values and any(colours[0]):
        raise InputError(
            f"The palette of the mask {path} gives the value 0 the colour {colours[0]} and the "
            f"value {black[0]} black, as if 0 were the object, but 0 is the background and no "
            "colour matters. Save the mask as an 8-bit grayscale PNG of the class values (0 "
            f"background, 1, 2, ... the classes, {IGNORE} ignore)."
        )
