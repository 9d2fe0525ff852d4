"""The true instances of a VOC photograph: one picture numbers its objects, another says
which class each pixel has.
"""

import pathlib

import numpy as np

from hfpl_jax.data.mask_file import read_mask
from hfpl_jax.errors import InputError
from hfpl_jax.instance import Instance, encode_rle
from hfpl_jax.masks import IGNORE

OBJECTS, CLASSES = "SegmentationObject", "SegmentationClass"
"""Folders of the two."""


def read_objects(
    objects: pathlib.Path,
    classes: pathlib.Path,
    file_name: str,
    height: int,
    width: int,
    num_classes: int,
) -> list[Instance]:
    """The instances of a photograph of this size, in the order of their numbers.

    The rim of 255 around an object belongs to none. An object has the class of most of
    its pixels.

    Args:
      objects: a PNG of 0 background, 1, 2, ... the objects, 255 the rims.
      classes: the mask of the same objects.
      file_name: of the photograph.
      height, width: of the photograph.
      num_classes: the foreground classes.

    Raises:
      InputError: a file that is damaged, of another size or kind; an object without a
        class.
    """
    numbers = read_mask(objects, file_name, height, width, IGNORE - 1)
    mask = read_mask(classes, file_name, height, width, num_classes)
    instances = []
    for number in np.unique(numbers[(numbers > 0) & (numbers != IGNORE)]):
        region = numbers == number
        pixels = np.bincount(mask[region], minlength=IGNORE + 1)
        value = int(pixels.argmax())
        if value in (0, IGNORE) or 2 * pixels[value] <= region.sum():
            raise InputError(
                f"Object {number} in {objects} has no class: its pixels hold the values "
                f"{np.flatnonzero(pixels).tolist()} in {classes}. Restore both files, or remove "
                f"{objects}; {file_name} then has no true instances."
            )
        instances.append(Instance(value - 1, encode_rle(region)))
    return instances
