"""Pseudo-labels as one tree in the layout of PASCAL VOC, which mmsegmentation, CVAT,
datumaro and FiftyOne read.
"""

import contextlib
import pathlib
import shutil
from collections.abc import Iterable, Iterator, Sequence

from hfpl_jax.errors import InputError
from hfpl_jax.export.parts import Split, Write
from hfpl_jax.export.png import check_apart, encode_png, relative_png
from hfpl_jax.export.pseudo_label import PseudoLabel
from hfpl_jax.export.staging import move_files, write_file
from hfpl_jax.masks import IGNORE, voc_palette
from hfpl_jax.runtime.atomic import atomic_write, writing

_BACKGROUND, _IGNORED = "background", "ignored"
_PHOTOGRAPHS, _MASKS = "JPEGImages", "SegmentationClass"


def check_voc(class_names: Sequence[str], file_names: Iterable[str]) -> None:
    """Raises InputError if a class cannot be a line of labelmap.txt, a photograph no
    line of a list, or two photographs would share a mask.
    """
    for name in class_names:
        if name.casefold() in (_BACKGROUND, _IGNORED) or ":" in name or name.startswith("#"):
            raise InputError(
                f"The class {name!r} cannot be a line of labelmap.txt in the export format voc: "
                f"{_BACKGROUND} and {_IGNORED} are its own, a colon ends a name and '#' begins a "
                "comment. Rename the class, or leave out the format."
            )
    names = list(file_names)
    for name in names:
        stem = _stem(name)
        if stem != stem.strip() or stem.startswith("#"):
            raise InputError(
                f"The photograph {name!r} cannot be a line of ImageSets in the export format voc: "
                "its readers cut off blanks and skip lines that begin with '#'. Rename the "
                "photograph, or leave out the format."
            )
    check_apart(names, title="voc")


class VocWriter:
    """Writes `split` into the tree in `directory`; other splits already in it stay.

    `JPEGImages/<name>` are the photographs, where given, under their own names;
    `SegmentationClass/<stem>.png` the class of each pixel (0 background, 255 ignore),
    with VOC's palette or grey; `ImageSets/Segmentation/<split>.txt` the stems;
    `labelmap.txt` a line `name:red,green,blue::` a class. A name's sub-folders are
    kept. The list is written last and removed first, so that at every moment each list
    is of a whole split.

    There is no confidence in this layout, and no instances are written.

    Raises:
      InputError: what `check_voc` raises; other splits in `directory` with other classes
        or with the same photographs; the disk refuses.
    """

    def __init__(self, directory: pathlib.Path, split: Split):
        self.path, self._split = directory, split
        self._lists = directory / "ImageSets" / "Segmentation"
        self._labelmap = directory / "labelmap.txt"
        lists = self._lists.glob("*.txt")
        self._others = sorted(path for path in lists if path.stem != split.name)
        if self._others and _read(self._labelmap) != _labelmap(split.class_names):
            raise InputError(
                f"{directory} already holds the splits {[path.stem for path in self._others]} with "
                "other classes. Delete the folder or export into another one."
            )

    @contextlib.contextmanager
    def part(self, folder: pathlib.Path, part: int) -> Iterator[Write]:
        def write(one: PseudoLabel) -> None:
            path = folder / _MASKS / relative_png(one.file_name)
            write_file(path, encode_png(one.mask, self._split.palette))
            if one.image is not None:
                write_file(folder / _PHOTOGRAPHS / one.file_name, one.image)

        yield write

    def publish(self, folder: pathlib.Path, facts: dict[str, None]) -> None:
        check_voc(self._split.class_names, facts)
        stems = [_stem(name) for name in facts]
        kept = {stem for path in self._others for stem in _read(path).splitlines()}
        if both := kept.intersection(stems):
            raise InputError(
                f"{self.path} already holds {min(both)!r} in another split, and the tree has one "
                "mask for both. Export into another folder."
            )
        listing = self._lists / f"{self._split.name}.txt"
        with writing(self.path):
            listing.unlink(missing_ok=True)
            for name in (_PHOTOGRAPHS, _MASKS):
                _sweep(self.path / name, kept)
                move_files(folder / name, self.path / name)
        atomic_write(self._labelmap, _labelmap(self._split.class_names))
        atomic_write(listing, "".join(f"{stem}\n" for stem in stems))


def _stem(file_name: str) -> str:
    return str(relative_png(file_name).with_suffix(""))


def _labelmap(class_names: Sequence[str]) -> str:
    values = {_BACKGROUND: 0, **{name: i for i, name in enumerate(class_names, 1)}}
    lines = ["# label:color_rgb:parts:actions"]
    for name, value in (values | {_IGNORED: IGNORE}).items():
        lines.append(f"{name}:{','.join(map(str, voc_palette()[value].tolist()))}::")
    return "\n".join(lines) + "\n"


def _read(path: pathlib.Path) -> str:
    try:
        return path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            f"Cannot read {path} ({error}), of an earlier export. Delete the folder or export "
            "into another one."
        ) from error


def _sweep(folder: pathlib.Path, kept: set[str]) -> None:
    """Removes every file below `folder` that belongs to none of the stems."""
    if not kept:
        shutil.rmtree(folder, ignore_errors=True)
        return
    for path in list(folder.rglob("*")):
        if path.is_file() and _stem(path.relative_to(folder).as_posix()) not in kept:
            path.unlink()
