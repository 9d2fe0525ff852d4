"""Regions as COCO's run-length encodings."""

import numpy as np
import pytest
from pycocotools import mask as coco_mask

from hfpl_jax.instance import Instance, decode_rle, encode_rle
from hfpl_jax.runtime.records import RecordReader, RecordWriter


@pytest.mark.parametrize("shape", [(1, 1), (5, 7), (64, 3)])
def test_a_region_comes_back_and_pycocotools_counts_its_pixels(shape):
    region = np.random.default_rng(0).random(shape) > 0.5
    rle = encode_rle(region)
    np.testing.assert_array_equal(decode_rle(rle), region)
    assert rle["size"] == list(shape)
    assert coco_mask.area(rle) == region.sum()


def test_instances_travel_in_records(tmp_path):
    rle = encode_rle(np.eye(3, dtype=bool))
    listed = [Instance(2, rle, score=0.25, peak=(1, 0)), Instance(0, rle, crowd=True)]
    with RecordWriter(tmp_path) as writer:
        writer.write({"instances": [one.encode() for one in listed]})
    (record,) = RecordReader(tmp_path)
    assert [Instance.decode(one) for one in record["instances"]] == listed


@pytest.mark.parametrize(
    "counts", ["", "8", "zzzzzzzz", encode_rle(np.eye(4, dtype=bool))["counts"]]
)
def test_runs_of_another_size_are_refused(counts):
    """pycocotools would take them, and count beyond their end."""
    with pytest.raises(ValueError, match=r"run|pixels"):
        decode_rle({"size": [3, 3], "counts": counts})
