"""Pseudo-labels as PNG files in the colours and layout of PASCAL VOC's
SegmentationClass folder.
"""

import contextlib
import io
import json
import pathlib
import zlib
from collections.abc import Iterable, Iterator

import numpy as np
from PIL import Image

from hfpl_jax.errors import InputError
from hfpl_jax.export.parts import Split, Write
from hfpl_jax.export.pseudo_label import PseudoLabel
from hfpl_jax.export.staging import replace_folder, write_file
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


def check_apart(file_names: Iterable[str], suffix: str = ".png", title: str = "PNG") -> None:
    """Raises InputError if two photographs would share a file of this suffix."""
    written: dict[pathlib.PurePosixPath, str] = {}
    for name in file_names:
        path = pathlib.PurePosixPath(name).with_suffix(suffix)
        if path in written:
            raise InputError(
                f"{written[path]!r} and {name!r} would both become {path} in an export as "
                f"{title}. Rename one of the photographs, or export them in another format."
            )
        written[path] = name


class PngWriter:
    """Writes the folder `directory`/`split`.

    It holds `masks/<stem>.png` (class index with VOC's palette or grey, 255 = ignore),
    `confidence/<stem>.png` (grayscale, where given), `images/<name>` (the photographs,
    where given), `labels.json` (photograph's name -> class names) and `class_names.txt`
    (line n is the class of mask value n; the first is background). A name's sub-folders
    are kept. A part is the files of its photographs. `labels.json` is there only when
    all the others are.

    Raises:
      InputError: two photographs would share a PNG, or the disk refuses.
    """

    def __init__(self, directory: pathlib.Path, split: Split):
        self.path = directory / split.name
        self._class_names, self._palette = split.class_names, split.palette

    @contextlib.contextmanager
    def part(self, folder: pathlib.Path, part: int) -> Iterator[Write]:
        def write(one: PseudoLabel) -> list[str]:
            path = relative_png(one.file_name)
            write_file(folder / "masks" / path, encode_png(one.mask, self._palette))
            if one.confidence is not None:
                write_file(folder / "confidence" / path, encode_png(one.confidence))
            if one.image is not None:
                write_file(folder / "images" / one.file_name, one.image)
            return [self._class_names[label] for label in one.labels]

        yield write

    def publish(self, folder: pathlib.Path, facts: dict[str, list[str]]) -> None:
        check_apart(facts)
        write_file(folder / "labels.json", json.dumps(facts, indent=0, ensure_ascii=False).encode())
        write_file(
            folder / "class_names.txt",
            "".join(f"{name}\n" for name in ("background", *self._class_names)).encode(),
        )
        replace_folder(folder, self.path, last="labels.json")
