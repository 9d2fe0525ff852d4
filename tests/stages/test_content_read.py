"""What AffinityNet and the final network read, as a hash: the same for the same
records.
"""

import numpy as np
import pytest
from tiny_datasets import jpeg

from hfpl_jax.data.example import Example
from hfpl_jax.defaults import default_config
from hfpl_jax.export import PseudoLabel, export
from hfpl_jax.runtime.records import RecordWriter
from hfpl_jax.stages import learning, segmentation
from hfpl_jax.stages.context import Context

CONFIG = default_config()
CONFIG.refine.name = "random_walk"


class Photographs:
    def split(self, name):
        return [Example(f"{index}.jpg", b"", np.array([0]), None, 4, 4) for index in range(4)]


@pytest.fixture
def context(tmp_path):
    return Context(CONFIG, tmp_path, tmp_path, Photographs())


def crf_records(folder, indices=range(4), process_index=0, **changes):
    with RecordWriter(folder / "crf" / "train", process_index=process_index) as writer:
        for index in indices:
            maps = {"alpha0": bytes([index]), "alpha1": b"b", "mask": b"m", "confidence": b"c"}
            shape = {"labels": [0], "height": 4, "width": 4}
            record = {"index": index, "file_name": f"{index}.jpg", **shape, **maps}
            writer.write(record | (changes if index == 2 else {}))


def affinity_content(folder, *calls):
    for call in calls:
        crf_records(folder, **call)
    return learning.content_read(Context(CONFIG, folder, folder, Photographs()))


def test_affinity_reads_the_maps_of_every_photograph_and_not_the_masks(tmp_path):
    alone = affinity_content(tmp_path / "a", {})
    two = affinity_content(
        tmp_path / "b", {"indices": (3, 1)}, {"indices": (0, 2), "process_index": 1}
    )
    assert alone == two
    assert affinity_content(tmp_path / "c", {"mask": b"x", "confidence": b"y"}) == alone
    others = [{"alpha0": b"x"}, {"alpha1": b"x"}, {"labels": [1]}]
    found = {affinity_content(tmp_path / f"{i}", one) for i, one in enumerate(others)}
    assert len(found | {alone}) == 4


def test_the_final_network_reads_photographs_and_masks_of_the_export(context, tmp_path):
    def content(value=1, image=0, **features):
        mask = np.full((20, 30), value, np.uint8)
        labels = [
            PseudoLabel("a.jpg", jpeg(image), (0,), mask, mask if features else None),
        ]
        export(
            labels,
            {"array_record": tmp_path / "export" / "array_record"},
            class_names=["cat"],
            split="train",
        )
        return segmentation.content_read(context)

    first = content()
    assert content(confidence=True) == first
    assert content(value=0) != first
    assert content(image=1) != first
    assert content() == first


@pytest.mark.parametrize(
    ("field", "value", "read"),
    [
        ("supervised.share", 0.0, ""),
        ("supervised.share", 0.5, "with confidence"),
        ("objective", "cotraining", "with confidence"),
        ("objective", "cycle", "with confidence"),
    ],
)
def test_where_it_tells_labelled_ones_it_reads_confidences_too(tmp_path, field, value, read):
    config = default_config()
    config.update_from_flattened_dict({f"segmentation.{field}": value})
    context = Context(config, tmp_path, tmp_path, Photographs())

    def content(confidence):
        mask = np.ones((20, 30), np.uint8)
        labels = [PseudoLabel("a.jpg", jpeg(0), (0,), mask, np.uint8(confidence) * mask)]
        folder = tmp_path / "export"
        folders = {"array_record": folder / "array_record"}
        export(labels, folders, class_names=["cat"], split="train")
        return segmentation.content_read(context)

    assert segmentation.content_of(config) == read
    assert (content(255) == content(9)) == (not read)
