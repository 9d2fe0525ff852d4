"""Pseudo-labels as PNG files in the colours and layout of PASCAL VOC's
SegmentationClass folder.
"""

import io
import json
import pathlib
import zlib
from collections.abc import Iterable, Sequence

import numpy as np
from PIL import Image

from hfpl_jax.errors import InputError
from hfpl_jax.export.pseudo_label import PseudoLabel
from hfpl_jax.export.staging import replace_folder, write_file
from hfpl_jax.masks import voc_palette
from hfpl_jax.shapes import UInt8, typed


@typed
def encode_png(
    values: UInt8[np.ndarray, "h w"], palette: UInt8[np.ndarray, "256 3"] | None = None
) -> bytes:
    """One 8-bit channel as PNG: grayscale, or with a palette the index of each pixel's
    colour.
    """
    image = Image.fromarray(values)
    if palette is not None:
        image.putpalette(palette.tobytes())
    data = io.BytesIO()
    image.save(
        data, "PNG", compress_type=zlib.Z_RLE
    )  # on maps smaller than the default, and written in half the time
    return data.getvalue()


def relative_png(file_name: str) -> pathlib.PurePosixPath:
    """Where the PNG of a photograph goes: 'a/b.jpg' -> a/b.png. The name `is_inside`
    its folder.
    """
    return pathlib.PurePosixPath(file_name).with_suffix(".png")


def check_png_names(file_names: Iterable[str]) -> None:
    """Raises InputError if two photographs would share a PNG."""
    written: dict[pathlib.PurePosixPath, str] = {}
    for name in file_names:
        path = relative_png(name)
        if path in written:
            raise InputError(
                f"{written[path]!r} and {name!r} would both become {path} in an export as PNG. "
                "Rename one of the photographs, or export them in another format."
            )
        written[path] = name


class PngWriter:
    """Writes the folder `directory`/`split`.

    It holds `masks/<stem>.png` (class index with VOC's palette, 255 = ignore),
    `confidence/<stem>.png` (grayscale, where given), `images/<name>` (the photographs,
    where given), `labels.json` (photograph's name -> class names) and `class_names.txt`
    (line n is the class of mask value n; the first is background). A name's sub-folders
    are kept. A part is the files of its photographs. `labels.json` is there only when
    all the others are.

    Raises:
      InputError: two photographs would share a PNG, or the disk refuses.
    """

    def __init__(self, directory: pathlib.Path, *, class_names: Sequence[str], split: str):
        self.path = directory / split
        self._class_names = class_names

    def write_part(
        self, folder: pathlib.Path, part: int, pseudo_labels: Iterable[PseudoLabel]
    ) -> list[tuple[str, list[str]]]:
        palette, labels = voc_palette(), []
        for pseudo_label in pseudo_labels:
            path = relative_png(pseudo_label.file_name)
            write_file(folder / "masks" / path, encode_png(pseudo_label.mask, palette))
            if pseudo_label.confidence is not None:
                write_file(folder / "confidence" / path, encode_png(pseudo_label.confidence))
            if pseudo_label.image is not None:
                write_file(folder / "images" / pseudo_label.file_name, pseudo_label.image)
            labels.append(
                (
                    pseudo_label.file_name,
                    [self._class_names[label] for label in pseudo_label.labels],
                )
            )
        return labels

    def publish(self, folder: pathlib.Path, facts: dict[str, list[str]]) -> None:
        check_png_names(facts)
        write_file(folder / "labels.json", json.dumps(facts, indent=0, ensure_ascii=False).encode())
        write_file(
            folder / "class_names.txt",
            "".join(f"{name}\n" for name in ("background", *self._class_names)).encode(),
        )
        replace_folder(folder, self.path, last="labels.json")
