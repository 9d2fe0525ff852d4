"""Pseudo-labels as YOLO's polygons, one text file a photograph."""

import contextlib
import json
import logging
import pathlib
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import scipy

from hfpl_jax.errors import InputError
from hfpl_jax.export.outline import outline
from hfpl_jax.export.parts import Split, Write
from hfpl_jax.export.png import check_apart
from hfpl_jax.export.pseudo_label import PseudoLabel
from hfpl_jax.export.staging import replace_folder, write_file
from hfpl_jax.masks import IGNORE
from hfpl_jax.runtime.atomic import atomic_write, writing
from hfpl_jax.shapes import UInt8, typed

_LOG = logging.getLogger(__name__)

_IMAGES, _LABELS = "images", "labels"
_COUNTED = ("regions", "regions_with_holes", "pixels_in_holes", "ignored_pixels")
_TOUCHING = np.ones((3, 3), bool)


def check_yolo(class_names: Sequence[str], file_names: Iterable[str]) -> None:
    """Raises InputError if two photographs would share a text file, or a reader would
    look for one elsewhere.
    """
    names = list(file_names)
    for name in names:
        if _IMAGES in pathlib.PurePosixPath(name).parts[:-1]:
            raise InputError(
                f"The photograph {name!r} lies in a folder {_IMAGES!r}; in the export format yolo "
                f"its readers would look for its labels in one called {_LABELS!r} there. Rename "
                "the folder, or leave out the format."
            )
    check_apart(names, ".txt", "yolo")


class YoloWriter:
    """Writes `split` into `directory`; other splits already in it stay.

    `images/<split>/<name>` are the photographs, where given, `labels/<split>/<stem>.txt`
    the regions: a row for each connected region of a class, the class from 0 without the
    background and the corners of its outline, x and y divided by width and height, the
    largest region first. A corner is a quarter of a pixel behind the upper left one of
    its pixel, so that readers that round and readers that cut off both find the pixel.
    `data.yaml` names classes and splits.

    A row has no hole, no confidence and nothing to ignore: holes are filled, ignored
    pixels become background. `<split>.json` counts both, and so does the log. Where the
    rows are painted in their order, regions of other classes in a hole lie on top of it.

    Raises:
      InputError: what `check_yolo` raises; other splits in `directory` with other
        classes; the disk refuses.
    """

    def __init__(self, directory: pathlib.Path, split: Split):
        self.path, self._split = directory / "data.yaml", split
        self._directory = directory
        self._others = sorted(
            path.name for path in (directory / _LABELS).glob("*/") if path.name != split.name
        )
        if self._others:
            try:
                known = self.path.read_text()
            except (OSError, UnicodeDecodeError):
                known = ""
            if not known.endswith(_names(split.class_names)):
                raise InputError(
                    f"{directory} already holds the splits {self._others} with other classes. "
                    "Delete the folder or export into another one."
                )

    @contextlib.contextmanager
    def part(self, folder: pathlib.Path, part: int) -> Iterator[Write]:
        """A fact has what is counted."""

        def write(one: PseudoLabel) -> list[int]:
            path = pathlib.PurePosixPath(one.file_name).with_suffix(".txt")
            rows, counts = yolo_rows(one.mask)
            write_file(folder / _LABELS / path, "".join(f"{row}\n" for row in rows).encode())
            if one.image is not None:
                write_file(folder / _IMAGES / one.file_name, one.image)
            return counts

        yield write

    def publish(self, folder: pathlib.Path, facts: dict[str, list[int]]) -> None:
        check_yolo(self._split.class_names, facts)
        name, directory = self._split.name, self._directory
        with writing(self.path):
            if self._others:
                atomic_write(self.path, _description(self._others, self._split.class_names))
            else:
                self.path.unlink(missing_ok=True)
            for kind in (_LABELS, _IMAGES):
                replace_folder(folder / kind, directory / kind / name)
        counts = [sum(of_field) for of_field in zip(*facts.values(), strict=True)]
        told = {"photographs": len(facts), **dict(zip(_COUNTED, counts, strict=True))}
        atomic_write(directory / f"{name}.json", json.dumps(told, indent=2) + "\n")
        splits = sorted([*self._others, name])
        atomic_write(self.path, _description(splits, self._split.class_names))
        _LOG.warning(
            "YOLO's rows of %d regions say neither confidence nor what to ignore nor holes: %d "
            "ignored pixels become background, %d pixels in holes of %d regions become theirs.",
            *(told[field] for field in (_COUNTED[0], _COUNTED[3], _COUNTED[2], _COUNTED[1])),
        )


@typed
def yolo_rows(mask: UInt8[np.ndarray, "h w"]) -> tuple[list[str], list[int]]:
    """The rows of a mask, and the numbers of regions, of those with holes, of the pixels
    in these and of ignored pixels.
    """
    height, width = mask.shape
    found: list[tuple[int, str]] = []
    with_holes = in_holes = 0
    values = np.flatnonzero(np.bincount(mask.ravel(), minlength=256)[:IGNORE]).tolist()
    for value in filter(None, values):
        numbered, _ = scipy.ndimage.label(mask == value, _TOUCHING)
        for number, box in enumerate(scipy.ndimage.find_objects(numbered), start=1):
            region = numbered[box] == number
            area = int(region.sum())
            hidden = int(scipy.ndimage.binary_fill_holes(region).sum()) - area
            with_holes, in_holes = with_holes + (hidden > 0), in_holes + hidden
            corners = outline(region) + np.array([box[1].start, box[0].start])
            shares = (corners + 0.25) / np.array([width, height])
            text = " ".join(f"{share:.6f}" for share in shares.ravel())
            found.append((area, f"{value - 1} {text}"))
    found.sort(key=lambda one: -one[0])
    ignored = int((mask == IGNORE).sum())
    return [row for _, row in found], [len(found), with_holes, in_holes, ignored]


def _description(splits: Sequence[str], class_names: Sequence[str]) -> str:
    """data.yaml: paths are relative to its own folder. Its readers want both a train and
    a val; a text in JSON is one in YAML.
    """
    val = "val" if "val" in splits else splits[0]
    train = [split for split in splits if split != "val"] or [val]
    lines = [f"train: [{', '.join(f'{_IMAGES}/{split}' for split in train)}]"]
    if val in train:
        lines.append("# There is no other split: name photographs of your own to validate on.")
    lines.append(f"val: {_IMAGES}/{val}")
    return "\n".join(lines) + "\n" + _names(class_names)


def _names(class_names: Sequence[str]) -> str:
    return "names:\n" + "".join(
        f"  {label}: {json.dumps(name)}\n" for label, name in enumerate(class_names)
    )
