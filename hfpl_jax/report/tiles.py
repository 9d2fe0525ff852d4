"""One image of the report as four pictures: photograph, truth, CAM, pseudo-label."""

import dataclasses
from collections.abc import Sequence

import matplotlib
import numpy as np
from PIL import Image

from hfpl_jax.errors import InputError
from hfpl_jax.masks import IGNORE, voc_palette
from hfpl_jax.shapes import Float, UInt8, typed

PANELS = ("photograph", "truth", "CAM", "pseudo-label")
WHITISH = (240, 240, 240)
"""The colour of ignored pixels: the cream of the palette is too close to fair
photographs.
"""


@dataclasses.dataclass(frozen=True)
class Tile:
    """What is shown of one image; all maps have the size of the photograph.

    Attributes:
      file_name: the name under the pictures.
      image: uint8 [h, w, 3], RGB.
      truth: uint8 [h, w] labels, 255 ignored; None without a mask.
      cam: float32 [h, w] in [0, 1], the strongest class at each pixel.
      pseudo_label: uint8 [h, w] labels, 255 ignored.
      labels: names of the classes of the image.

    Raises:
      InputError: a map has another size, so it was made from another photograph.
    """

    file_name: str
    image: np.ndarray
    truth: np.ndarray | None
    cam: np.ndarray
    pseudo_label: np.ndarray
    labels: tuple[str, ...]

    def __post_init__(self):
        height, width = self.image.shape[:2]
        maps = {"truth": self.truth, "CAM": self.cam, "pseudo-label": self.pseudo_label}
        for what, values in maps.items():
            if values is not None and values.shape != (height, width):
                raise InputError(
                    f"The {what} of {self.file_name} has the shape {values.shape}, but the "
                    f"photograph is {height} pixels high and {width} wide: one of them belongs to "
                    "another photograph. Delete the folders cams and labels in the workdir and "
                    "run the command again."
                )


@typed
def overlay_labels(
    image: UInt8[np.ndarray, "h w 3"], labels: UInt8[np.ndarray, "h w"]
) -> UInt8[np.ndarray, "h w 3"]:
    """The photograph with labels in VOC colours and brighter outlines; the background
    is faded, ignored pixels are whitish.
    """
    photo, palette = image.astype(np.float32), voc_palette().astype(np.float32)
    grey = photo.mean(axis=-1, keepdims=True)
    colours = palette[labels]
    out = np.where(
        (labels == 0)[..., None],
        0.45 * photo + 0.25 * grey + 0.3 * 255,
        0.4 * photo + 0.6 * colours,
    )
    out = np.where(_outline(labels)[..., None], 0.5 * colours + 0.5 * 255, out)
    out = np.where(
        (labels == IGNORE)[..., None], 0.15 * grey + 0.85 * np.asarray(WHITISH, np.float32), out
    )
    return out.round().astype(np.uint8)


def _outline(labels: np.ndarray) -> np.ndarray:
    # the rim of each object, inside it: what touches another label
    rim = np.zeros(labels.shape, bool)
    below, right = labels[1:] != labels[:-1], labels[:, 1:] != labels[:, :-1]
    rim[1:] |= below
    rim[:-1] |= below
    rim[:, 1:] |= right
    rim[:, :-1] |= right
    return rim & (labels != 0)


@typed
def overlay_cam(
    image: UInt8[np.ndarray, "h w 3"], cam: Float[np.ndarray, "h w"]
) -> UInt8[np.ndarray, "h w 3"]:
    """The grey photograph under the CAM: dark violet at 0 to yellow at 1, in a colour
    map of even lightness steps.
    """
    grey = image.astype(np.float32).mean(axis=-1, keepdims=True)
    heat = 255 * matplotlib.colormaps["inferno"](np.clip(cam, 0, 1))[..., :3]
    return (0.35 * grey + 0.65 * heat).round().astype(np.uint8)


def panels(tile: Tile, box: tuple[int, int]) -> list[Image.Image | None]:
    """The pictures in the order of PANELS, as large as fits into a box of (width,
    height) pixels; None for a missing truth.

    The maps are scaled before they are painted, so that outlines stay sharp on images
    of any size.
    """
    height, width = tile.image.shape[:2]
    scale = min(box[0] / width, box[1] / height)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    photo = Image.fromarray(tile.image).resize(size, Image.Resampling.LANCZOS)
    image = np.asarray(photo)
    cam = np.asarray(
        Image.fromarray(tile.cam.astype(np.float32)).resize(size, Image.Resampling.BILINEAR)
    )

    def labels(mask: np.ndarray) -> Image.Image:
        return Image.fromarray(
            overlay_labels(
                image, np.asarray(Image.fromarray(mask).resize(size, Image.Resampling.NEAREST))
            )
        )

    truth = None if tile.truth is None else labels(tile.truth)
    return [photo, truth, Image.fromarray(overlay_cam(image, cam)), labels(tile.pseudo_label)]


def classes_shown(tiles: Sequence[Tile]) -> list[int]:
    """The foreground label values in the tiles' masks, ascending."""
    masks = [mask for tile in tiles for mask in (tile.truth, tile.pseudo_label) if mask is not None]
    return sorted({int(label) for mask in masks for label in np.unique(mask)} - {0, IGNORE})
