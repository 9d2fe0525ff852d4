"""Regions as COCO's run-length encodings."""

import numpy as np
import pytest
from pycocotools import mask as coco_mask

from hfpl_jax.instance import decode_rle, encode_rle


@pytest.mark.parametrize("shape", [(1, 1), (5, 7), (64, 3)])
def test_a_region_comes_back_and_pycocotools_counts_its_pixels(shape):
    region = np.random.default_rng(0).random(shape) > 0.5
    rle = encode_rle(region)
    np.testing.assert_array_equal(decode_rle(rle), region)
    assert rle["size"] == list(shape)
    assert coco_mask.area(rle) == region.sum()
