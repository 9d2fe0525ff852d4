"""What the report shows of a photograph: a row of panels, the photograph and what was
made of it beside it.
"""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np
from PIL import Image

from hfpl_jax.errors import InputError
from hfpl_jax.masks import IGNORE, voc_palette
from hfpl_jax.report.instances import Things, overlay_instances
from hfpl_jax.shapes import Float, UInt8, typed

IGNORED = "ignored"
WHITISH = (240, 240, 240)
"""The colour of ignored pixels: the cream of the palette is too close to fair
photographs.
"""


@dataclasses.dataclass(frozen=True)
class Tile:
    """What is shown of one photograph.

    Attributes:
      file_name: the name under the panels.
      image: uint8 [h, w, 3], RGB.
      maps: name of a panel -> its map [h, w], from left to right: uint8 labels, 255
        ignored, or a float CAM in [0, 1], the strongest class at each pixel; or
        instances; None where this photograph has none.
      labels: names of the classes of the photograph.

    Raises:
      InputError: a map has another size, so it was made from another photograph.
    """

    file_name: str
    image: np.ndarray
    maps: Mapping[str, np.ndarray | Things | None]
    labels: tuple[str, ...]

    def __post_init__(self):
        height, width = self.image.shape[:2]
        for what, values in self.maps.items():
            if values is not None and values.shape != (height, width):
                raise InputError(
                    f"The {what} of {self.file_name} has the shape {values.shape}, but the "
                    f"photograph is {height} pixels high and {width} wide: one of them belongs to "
                    "another photograph. Delete the folders cams, labels and predictions in "
                    "the workdir, and those of the refiner, and run the command again."
                )

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the panels, from left to right."""
        return ("photograph", *self.maps)


@dataclasses.dataclass(frozen=True)
class Picture:
    """A file of the report and a section of its page.

    Attributes:
      file_name: of the PNG.
      heading: of the section.
      tiles: its rows, all with the same panels.
    """

    file_name: str
    heading: str
    tiles: Sequence[Tile]


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
    import matplotlib  # here, as it takes time that no other stage has to wait for

    grey = image.astype(np.float32).mean(axis=-1, keepdims=True)
    heat = 255 * matplotlib.colormaps["inferno"](np.clip(cam, 0, 1))[..., :3]
    return (0.35 * grey + 0.65 * heat).round().astype(np.uint8)


def panels(tile: Tile, box: tuple[int, int]) -> list[Image.Image | None]:
    """The pictures in the order of the tile's columns, as large as fits into a box of
    (width, height) pixels; None for a map that is missing.

    The maps are scaled before they are painted, so that outlines stay sharp on images
    of any size.
    """
    height, width = tile.image.shape[:2]
    scale = min(box[0] / width, box[1] / height)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    photo = Image.fromarray(tile.image).resize(size, Image.Resampling.LANCZOS)
    return [photo, *(_painted(np.asarray(photo), values) for values in tile.maps.values())]


def _painted(image: np.ndarray, values: np.ndarray | Things | None) -> Image.Image | None:
    """A map, or instances, of any size over a photograph."""
    if values is None:
        return None
    if isinstance(values, Things):
        things = values.resized(*image.shape[:2])
        drawn = overlay_instances(image, things.regions, things.captions, things.peaks)
        return Image.fromarray(drawn)
    labels = values.dtype == np.uint8
    resized = Image.fromarray(values if labels else values.astype(np.float32)).resize(
        (image.shape[1], image.shape[0]),
        Image.Resampling.NEAREST if labels else Image.Resampling.BILINEAR,
    )
    overlay = overlay_labels if labels else overlay_cam
    return Image.fromarray(overlay(image, np.asarray(resized)))


def legend(
    tiles: Sequence[Tile], class_names: Sequence[str]
) -> list[tuple[str, tuple[int, int, int]]]:
    """Names and colours of what the tiles' label maps show: the foreground classes in
    their order, and ignored pixels. Instances have their names on them.
    """
    maps = [values for tile in tiles for values in tile.maps.values()]
    masks = [one for one in maps if isinstance(one, np.ndarray) and one.dtype == np.uint8]
    shown = sorted({int(label) for mask in masks for label in np.unique(mask)} - {0, IGNORE})
    palette = voc_palette().tolist()
    entries = [(class_names[label - 1], tuple(palette[label])) for label in shown]
    return [*entries, (IGNORED, WHITISH)] if masks else entries
