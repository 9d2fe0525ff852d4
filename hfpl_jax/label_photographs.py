"""Masks for photographs that belong to no dataset: a trained network looks at each, and
an export holds what it sees.

What is done lies in OUTPUT/unfinished, records as those of a stage, so that the same
call goes on after a kill; it is gone when the export is there. The manifest says what
the folder is of, and is written first as not done, last as done.
"""

import dataclasses
import hashlib
import json
import logging
import os
import pathlib
import shutil
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from hfpl_jax.data.builder import SKIPPED_FILE
from hfpl_jax.data.example import decode_mask, encode_mask, plain_image
from hfpl_jax.data.photograph_files import Found, Listing, PhotographFiles, look_at
from hfpl_jax.errors import InputError
from hfpl_jax.export import FORMATS, PseudoLabel, check_exportable, export
from hfpl_jax.inference.instances import ProposedExample, write_instances
from hfpl_jax.inference.padding import plan_shapes
from hfpl_jax.inference.predictor import write_records
from hfpl_jax.instance import Instance
from hfpl_jax.runtime import atomic, distributed, workdir_lock
from hfpl_jax.runtime.manifest import MANIFEST, read_manifest, write_manifest
from hfpl_jax.runtime.provenance import made_by
from hfpl_jax.runtime.records import RecordReader
from hfpl_jax.trained import TrainedClassifier, TrainedNetwork

_LOG = logging.getLogger(__name__)

STAGE = "predict"
SPLIT = "predictions"
"""Of the export."""

_UNFINISHED = "unfinished"
_RECORDS, _INSTANCES = "records", "instances"
_LOOKED_AT = "photographs.json"
_SHARD_SIZE = 64


def label_photographs(
    network: TrainedNetwork,
    listing: Listing,
    output: pathlib.Path,
    *,
    format: str,
    labels: Mapping[str, Sequence[int]] | None = None,
    refine: bool = False,
    instances: TrainedClassifier | None = None,
    skip_unreadable: bool = False,
) -> dict:
    """Writes a mask and its confidence for each photograph, and its instances.

    Args:
      network: of `load`.
      listing: the photographs.
      output: a folder of their own; made if missing, resumed if begun.
      format: of `export`.
      labels: zero-based classes of every photograph; None where nobody says.
      refine: whether the CRF sharpens the masks.
      instances: the classifier by whose peaks instances are found among the regions of
        the masks; None for no instances.
      skip_unreadable: whether a file that cannot be read is left out, and listed in
        OUTPUT/skipped.jsonl.

    Returns:
      What to know of it: "path", to open; "photographs" and "skipped", their numbers.

    Raises:
      InputError: a folder with other content; a photograph that cannot be read; what
        `TrainedNetwork.merge` and `export` raise.
    """
    names = network.class_names
    check_exportable([format], split=SPLIT, class_names=names, file_names=listing.names)
    merge = network.merge(given=labels is not None, refine=refine)  # says what it lacks
    content = {
        "model": dataclasses.asdict(network.model),
        "training": read_manifest(network.folder)["fingerprint"],
        "photographs": [_stamp(listing.root / name) for name in listing.names],
        "names": listing.names,
        "labels": labels,
        "refine": refine,
        "format": format,
    }
    if instances:
        content["instances"] = [
            read_manifest(instances.folder)["fingerprint"],
            dataclasses.asdict(instances.model),
        ]
    fingerprint = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]

    def work() -> dict:
        with distributed.first_before_others():
            manifest = _begin(output, fingerprint)
        if manifest["done"]:
            _LOG.info("All of it is done already.")
            return manifest["facts"]
        with distributed.first_before_others():
            found = _looked_at(listing, output, skip_unreadable)
        readable = [each for each in found if not each.reason]
        photographs = PhotographFiles(listing.root, readable, labels or {})

        def record(index, photograph, maps, scaled_sizes) -> dict:
            made = merge(index, photograph, maps, scaled_sizes)
            return {
                "index": index,
                "file_name": photograph.file_name,
                "labels": list(made.classes),
                "mask": encode_mask(made.mask),
                "confidence": encode_mask(made.confidence),
            }

        write_records(
            network.predictor,
            photographs,
            output / _UNFINISHED / _RECORDS,
            merge=record,
            title="masks",
            **_plan(network, photographs),
        )
        distributed.meet()
        if instances:
            _write_instances(instances, photographs, output / _UNFINISHED)
            distributed.meet()
        kept = {"image": FORMATS[format].whole, "instances": instances is not None}
        masks = _Masks(output / _UNFINISHED, photographs, **kept)
        path = export(masks, {format: output}, class_names=names, split=SPLIT)[format]
        facts = {
            "path": str(path),
            "photographs": len(readable),
            "skipped": len(found) - len(readable),
        }
        if distributed.is_first():
            write_manifest(output, {**manifest, "done": True, "made_by": made_by(), "facts": facts})
            shutil.rmtree(output / _UNFINISHED)
        distributed.meet()
        return facts

    if not distributed.is_first():
        return work()
    with workdir_lock.held(output):
        return work()


def _plan(network: TrainedNetwork, photographs: PhotographFiles) -> dict[str, Any]:
    """How records of photographs are written."""
    base_size = network.predictor.settings.base_size
    sizes = {each.file_name: base_size((each.height, each.width)) for each in photographs.found}
    shapes = plan_shapes(np.asarray(list(sizes.values()), np.int64), network.model.padded_shapes)
    return {"sizes": sizes, "shapes": shapes, "shard_size": _SHARD_SIZE}


def _write_instances(
    classifier: TrainedClassifier, photographs: PhotographFiles, folder: pathlib.Path
) -> None:
    """By the peaks of a classifier, of all photographs that have a mask in `folder`."""
    assert classifier.peaks
    write_instances(
        classifier.peaks,
        _Masked(folder / _RECORDS, photographs),
        folder / _INSTANCES,
        name="photographs",
        **_plan(classifier, photographs),
    )


class _ByIndex:
    """Records by the index of their photograph."""

    def __init__(self, folder: pathlib.Path):
        self._records = RecordReader(folder)
        self._order = np.argsort([record["index"] for record in self._records])

    def __len__(self) -> int:
        return len(self._order)

    def __getitem__(self, position: int) -> dict:
        return self._records[int(self._order[position])]


class _Masked(Sequence[ProposedExample]):
    """Photographs with their classes and masks."""

    def __init__(self, folder: pathlib.Path, photographs: PhotographFiles):
        self._records, self._photographs = _ByIndex(folder), photographs

    def __len__(self) -> int:
        return len(self._photographs)

    def __getitem__(self, index: int) -> ProposedExample:
        record, example = self._records[index], self._photographs[index]
        mask = decode_mask(record["mask"], example.file_name)
        return ProposedExample(example, np.asarray(record["labels"], np.int64), mask)


def _stamp(path: pathlib.Path) -> tuple[int, int]:
    status = os.stat(path)
    return status.st_size, status.st_mtime_ns


def _begin(output: pathlib.Path, fingerprint: str) -> dict:
    """The manifest of the folder, made where there is none.

    Raises:
      InputError: the folder holds something else.
    """
    manifest = read_manifest(output)
    others = {
        path.name
        for path in output.iterdir()
        if not path.name.startswith((workdir_lock.LOCK, MANIFEST))
    }
    if (others and not manifest) or manifest.get("stage", STAGE) != STAGE:
        shown = ", ".join(sorted(others)[:3])
        raise InputError(
            f"--output={output} holds files that are not of this command ({shown}). Name a folder "
            "that is empty or does not exist."
        )
    if manifest and manifest["fingerprint"] != fingerprint:
        raise InputError(
            f"--output={output} holds the masks of another command: the photographs, the labels, "
            "the network or another option differ. Name another folder, or delete that one."
        )
    if not manifest:
        manifest = {"stage": STAGE, "fingerprint": fingerprint, "done": False}
        write_manifest(output, {**manifest, "made_by": made_by()})
    elif manifest["done"]:
        shutil.rmtree(output / _UNFINISHED, ignore_errors=True)
    return manifest


def _looked_at(listing: Listing, output: pathlib.Path, skip: bool) -> list[Found]:
    """Every file, read once; of a command that goes on, as the one before found them."""
    path = output / _UNFINISHED / _LOOKED_AT
    if path.exists():
        return [Found(*values) for values in json.loads(path.read_bytes())]
    found = []
    for each in look_at(listing):
        if each.reason and not skip:
            raise InputError(
                f"{each.reason} Or give --skip_unreadable, which leaves such files out and lists "
                f"them in {output / SKIPPED_FILE}."
            )
        found.append(each)
    skipped = [
        {"file_name": each.file_name, "reason": each.reason} for each in found if each.reason
    ]
    if len(skipped) == len(found):
        raise InputError(
            f"None of the {len(found)} photographs can be read; the first: {found[0].reason}"
        )
    if skipped:
        _LOG.warning("%d files cannot be read, see %s.", len(skipped), output / SKIPPED_FILE)
        lines = [json.dumps(each, ensure_ascii=False) + "\n" for each in skipped]
        atomic.atomic_write(output / SKIPPED_FILE, "".join(lines))
    atomic.atomic_write(path, json.dumps([dataclasses.astuple(each) for each in found]))
    return found


class _Masks(Sequence[PseudoLabel]):
    """The records in the order of their photographs, each read when it is asked for."""

    def __init__(
        self, folder: pathlib.Path, photographs: PhotographFiles, *, image: bool, instances: bool
    ):
        self._photographs, self._image = photographs, image
        self._records = _ByIndex(folder / _RECORDS)
        self._instances = _ByIndex(folder / _INSTANCES) if instances else None

    def __len__(self) -> int:
        return len(self._records)

    def __getitem__(self, position: int) -> PseudoLabel:
        record = self._records[position]
        name, image, found = record["file_name"], None, None
        if self._image:
            image = plain_image(self._photographs[record["index"]].image, name).image
        if self._instances:
            found = tuple(map(Instance.decode, self._instances[position]["instances"]))
        return PseudoLabel(
            file_name=name,
            image=image,
            labels=tuple(record["labels"]),
            mask=decode_mask(record["mask"], name),
            confidence=decode_mask(record["confidence"], name),
            instances=found,
        )
