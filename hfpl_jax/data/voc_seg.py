"""PASCAL VOC 2012 segmentation in its official layout, with the additional masks of SBD
where they are there.
"""

import pathlib
import xml.parsers.expat
from collections.abc import Collection, Mapping, Sequence

from hfpl_jax.data.builder import Record
from hfpl_jax.data.class_names import VOC_CLASSES
from hfpl_jax.data.find_file import Finder, normal
from hfpl_jax.data.mask_file import find_mask, read_mask
from hfpl_jax.data.photographs import (
    Annotated,
    Photograph,
    PhotographBuilder,
    download,
    read_bytes,
)
from hfpl_jax.data.voc_list import MASKS, PHOTOGRAPHS, Listed, read_list
from hfpl_jax.data.voc_objects import CLASSES, OBJECTS, read_objects
from hfpl_jax.errors import InputError, did_you_mean, in_brackets

ADDRESS = "http://host.robots.ox.ac.uk/pascal/VOC/voc2012/VOCtrainval_11-May-2012.tar"

_SPLITS = ("train", "trainaug", "val")


class VocSeg(PhotographBuilder):
    """Photographs of `ImageSets/Segmentation/{train,trainaug,val}.txt`, 20 classes.

    A list names a photograph a line, with or without extension, or the paths of the
    photograph and its mask. Image labels are the names of all objects in the XML
    annotation, in any case of letters, difficult ones included. Masks are those that
    the list names, or those of SegmentationClass or SegmentationClassAug (SBD): for
    trainaug the latter comes first. In trainaug a photograph may be without a mask;
    train and val must have theirs. The lists of trainaug and val may be absent.
    Photographs in SegmentationObject and SegmentationClass have true instances.

    Args:
      root: the folder `VOC2012`, or one that holds `VOC2012` or `VOCdevkit/VOC2012`.
        Without it the official archive is downloaded; it has no trainaug list and no
        SBD masks.
      on_bad_record: see `SegmentationBuilder`.
    """

    DESCRIPTION = "PASCAL VOC 2012 segmentation; image labels from the XML annotations."
    official_splits = True
    labels_beside_masks = True

    def __init__(self, *, root: str = "", on_bad_record: str = "raise", **kwargs):
        super().__init__(root=root, on_bad_record=on_bad_record, **kwargs)

    @property
    def class_names(self) -> tuple[str, ...]:
        return VOC_CLASSES

    def split_names(self) -> tuple[str, ...]:
        if self.root is None:
            return ("train", "val")
        return tuple(
            split for split in _SPLITS if split == "train" or self._list_file(split).exists()
        )

    def source_files(self) -> list[pathlib.Path]:
        if self.root is None:
            return []
        folders = ("ImageSets/Segmentation", "Annotations", PHOTOGRAPHS, *MASKS, OBJECTS)
        return [self._layout() / folder for folder in folders if (self._layout() / folder).is_dir()]

    def _download(self, dl_manager) -> None:
        self.root = pathlib.Path(download(dl_manager, ADDRESS))

    def _layout(self) -> pathlib.Path:
        for folder in ("", "VOC2012", "VOCdevkit/VOC2012"):
            if (self.root / folder / PHOTOGRAPHS).is_dir():
                return self.root / folder
        raise InputError(
            f"config.data.root = {str(self.root)!r} is not VOC 2012: neither it, nor VOC2012 or "
            "VOCdevkit/VOC2012 in it, has a folder "
            f"JPEGImages. Unpack {ADDRESS} there, or correct the path."
        )

    def _list_file(self, split: str) -> pathlib.Path:
        return self._layout() / "ImageSets" / "Segmentation" / f"{split}.txt"

    def _records(self, split: str) -> Sequence[Record]:
        path, layout = self._list_file(split), self._layout()
        text = read_bytes(
            path,
            f"it lists split {split}",
            "Put the official list there, or correct config.data.root.",
        )
        folders = MASKS[::-1] if split == "trainaug" else MASKS
        finders = {folder: Finder(layout / folder) for folder in (*MASKS, OBJECTS)}
        listed = read_list(text, path, layout)
        others = {normal(f"{one.stem}.png") for one in listed}
        return [
            Record(
                one.file_name, one.error or self._photograph(one, layout, folders, finders, others)
            )
            for one in listed
        ]

    @staticmethod
    def _photograph(
        one: Listed,
        layout: pathlib.Path,
        folders: Sequence[str],
        finders: Mapping[str, Finder],
        others: Collection[str],
    ) -> Photograph | InputError:
        masks = [one.mask] if one.mask else [f"{folder}/{one.stem}.png" for folder in folders]
        objects = [f"{folder}/{one.stem}.png" for folder in (OBJECTS, CLASSES)]
        try:
            found = [
                find_mask(finders[folder], name, one.file_name, others)
                for folder, _, name in (path.partition("/") for path in (*objects, *masks))
            ]
        except InputError as error:
            return error
        return Photograph(
            layout / PHOTOGRAPHS / one.file_name,
            (layout / "Annotations" / f"{one.stem}.xml", *found),
            annotation=one.mask == "" and folders[0] == MASKS[1],
        )

    def _annotate(self, record: Record, height: int, width: int) -> Annotated:
        photograph: Photograph = record.payload
        annotation, objects, classes, *masks = photograph.sources
        may_lack_mask: bool = photograph.annotation
        names = object_names(
            read_bytes(annotation, f"{record.file_name} takes its labels from it"), annotation
        )
        labels = [_label(name, annotation) for name in names]
        if not labels:
            raise InputError(
                f"{annotation} names no object, so {record.file_name} has no labels. Add an "
                "<object> or take it off the list."
            )
        mask_path = next((path for path in masks if path.exists()), None)
        if mask_path is None:
            if not may_lack_mask:
                raise InputError(
                    f"{record.file_name} has no mask: {' and '.join(map(str, masks))} "
                    f"{'is' if len(masks) == 1 else 'are'} not there. "
                    "Put it there, take the photograph off the list, or set "
                    "config.data.on_bad_record = 'skip'."
                )
            return Annotated(labels, None)
        here = record.file_name, height, width, len(VOC_CLASSES)
        both = objects.exists() and classes.exists()
        instances = read_objects(objects, classes, *here) if both else None
        return Annotated(labels, read_mask(mask_path, *here), instances)


def _label(name: str, annotation: pathlib.Path) -> int:
    """Position among VOC's classes, in whatever case the name is written."""
    if name.lower() in VOC_CLASSES:
        return VOC_CLASSES.index(name.lower())
    raise InputError(
        f"{annotation} names an object {name[:100]!r}, which is none of the 20 classes of VOC "
        f"({', '.join(VOC_CLASSES)}){in_brackets(did_you_mean(name, VOC_CLASSES))}. "
        "Correct its <name>, or for classes of your own write their names and those of the "
        "photographs into a labels.csv and use the recipe's switch data=folder."
    )


def object_names(annotation: bytes, path: pathlib.Path) -> list[str]:
    """Texts of /annotation/object/name in a VOC annotation, whatever their namespace;
    the names of an object's parts are not among them.

    Raises:
      InputError: the file is no well-formed XML, or declares a document type: entities
        in one could expand without end.
    """
    names: list[list[str]] = []
    opened: list[str] = []

    def refuse(*_):
        raise InputError(
            f"{path} declares a document type, which a VOC annotation does not have. Remove the "
            "<!DOCTYPE ...>."
        )

    def start(tag, _):
        opened.append(tag.rpartition(":")[2])
        if opened == ["annotation", "object", "name"]:
            names.append([])

    def text(characters):
        if opened == ["annotation", "object", "name"]:
            names[-1].append(characters)

    parser = xml.parsers.expat.ParserCreate()
    parser.buffer_text = True
    parser.StartDoctypeDeclHandler = refuse
    parser.StartElementHandler = start
    parser.EndElementHandler = lambda _: opened.pop()
    parser.CharacterDataHandler = text
    try:
        parser.Parse(annotation, True)
    except InputError:
        raise
    except (
        xml.parsers.expat.ExpatError,
        LookupError,
        ValueError,
    ) as error:  # the last two for an encoding that is none
        raise InputError(
            f"{path} is not well-formed XML ({error}). Copy or download it again."
        ) from error
    return ["".join(parts).strip() for parts in names]
