"""Pseudo-labels as PNG files in the colours and layout of PASCAL VOC's SegmentationClass folder."""

import io
import json
import pathlib
import zlib
from collections.abc import Iterable, Sequence

import numpy as np
from PIL import Image

from hfpl_jax.atomic import writing
from hfpl_jax.errors import InputError
from hfpl_jax.export.pseudo_label import PseudoLabel
from hfpl_jax.export.staging import replace_folder, staging_folder
from hfpl_jax.report.palette import voc_palette
from hfpl_jax.shapes import UInt8, typed


@typed
def encode_png(values: UInt8[np.ndarray, "h w"], palette: UInt8[np.ndarray, "256 3"] | None = None) -> bytes:
    """One 8-bit channel as PNG: grayscale, or with a palette the index of each pixel's colour."""
    image = Image.fromarray(values)
    if palette is not None:
        image.putpalette(palette.tobytes())
    data = io.BytesIO()
    image.save(data, "PNG", compress_type=zlib.Z_RLE)  # on maps smaller than the default, and written in half the time
    return data.getvalue()


def relative_png(file_name: str) -> pathlib.PurePosixPath:
    """Where the PNG of a photograph goes: 'a/b.jpg' -> a/b.png. The name `is_inside` its folder."""
    return pathlib.PurePosixPath(file_name).with_suffix(".png")


def write(pseudo_labels: Iterable[PseudoLabel], directory: pathlib.Path, *, class_names: Sequence[str], split: str) -> pathlib.Path:
    """Writes `directory`/`split` and returns it.

    It holds `masks/<stem>.png` (class index with VOC's palette, 255 = ignore), `confidence/<stem>.png` (grayscale, where given),
    `labels.json` (photograph's name -> class names) and `class_names.txt` (line n is the class of mask value n; the first is
    background). A name's sub-folders are kept.

    Raises:
      InputError: two photographs would share a PNG, or the disk refuses.
    """
    final = directory / split
    palette = voc_palette()
    labels, written = {}, {}
    with staging_folder(final) as staged:
        for pseudo_label in pseudo_labels:
            name = pseudo_label.file_name
            path = relative_png(name)
            if path in written:
                raise InputError(f"{written[path]!r} and {name!r} would both become {path}. Rename one of the photographs.")
            written[path] = name
            labels[name] = [class_names[label] for label in pseudo_label.labels]
            _write_file(staged / "masks" / path, encode_png(pseudo_label.mask, palette))
            if pseudo_label.confidence is not None:
                _write_file(staged / "confidence" / path, encode_png(pseudo_label.confidence))
        _write_file(staged / "labels.json", json.dumps(labels, indent=0, ensure_ascii=False).encode())
        _write_file(staged / "class_names.txt", "".join(f"{name}\n" for name in ("background", *class_names)).encode())
        replace_folder(staged, final)
    return final


def _write_file(path: pathlib.Path, data: bytes) -> None:
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
