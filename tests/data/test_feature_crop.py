"""Mirror images and crops of stored features: every cell says where it comes from."""

import numpy as np
import pytest

from hfpl_jax.data.feature_crop import FeatureCrop
from hfpl_jax.data.stored_features import Blank, Listed, StoredPhotograph

STRIDES = {"layer4": 16, "layer2": 8}
LISTED = Listed(["0a"], ["a.jpg"], [[2]])


class Places(Blank):
    """Of every cell its row and column, from 1."""

    def part(self, index, name):
        array = super().part(index, name)
        rows, columns = np.indices(array.shape[:2])
        array[..., 0], array[..., 1] = 1 + rows, 1 + columns
        return array


def drawn(size, crop_size, seed):
    split = Places(LISTED, STRIDES, {"layer4": 3, "layer2": 2}, size)
    crop = FeatureCrop(num_classes=4, crop_size=crop_size)
    return crop.random_map(StoredPhotograph(split, 0), np.random.default_rng(seed))


def windows(size):
    """Every crop of three by three cells there may be, as (features and colours) by its
    place: wholly inside of a side that is longer, wholly around one that is shorter.
    """
    split = Places(LISTED, STRIDES, {"layer4": 3, "layer2": 2}, size)
    rows, columns = (-(-side // 16) for side in size)
    found = {}
    for mirrored in (False, True):
        for top in range(min(0, rows - 3), max(0, rows - 3) + 1):
            for left in range(min(0, columns - 3), max(0, columns - 3) + 1):
                arrays = {}
                for name, ratio in (("layer4", 1), ("layer2", 2), ("colours", 8)):
                    array = split.part(0, name)
                    shape = ratio * (rows + 6), ratio * (columns + 6), array.shape[2]
                    canvas = np.zeros(shape, array.dtype)  # three cells of padding around it
                    corner = canvas[3 * ratio :, 3 * ratio :]
                    corner[: array.shape[0], : array.shape[1]] = array
                    if mirrored:
                        canvas = canvas[:, ::-1]
                    cut = canvas[ratio * (3 + top) :, ratio * (3 + left) :]
                    arrays[name] = cut[: 3 * ratio, : 3 * ratio]
                found[mirrored, top, left] = arrays
    return found


@pytest.mark.parametrize("size", [(64, 100), (40, 24), (24, 88)])
def test_all_that_is_cropped_is_cropped_alike(size):
    """Also where the last cell of the coarser feature reaches further than the finer's."""
    possible, seen = windows(size), set()
    for seed in range(40 * len(possible)):
        made = drawn(size, 50, seed)  # three cells
        arrays = {**made["features"], "colours": made["image"]}
        [place] = [
            place
            for place, expected in possible.items()
            if all(np.array_equal(arrays[name], expected[name]) for name in expected)
        ]
        seen.add(place)
        np.testing.assert_array_equal(made["valid"], made["image"][..., 0] > 0)
    assert seen == set(possible)
    np.testing.assert_array_equal(made["labels"], [0, 0, 1, 0])
    assert made["features"]["layer4"].dtype == np.float16


def test_one_cell_at_least():
    assert drawn((64, 64), 9, 0)["features"]["layer4"].shape == (1, 1, 3)


def test_mirrored_half_of_the_time():
    """A photograph of the size of the crop: its first cell comes first or last."""
    corners = [drawn((48, 48), 48, seed)["features"]["layer4"][0, 0, 1] for seed in range(200)]
    assert set(corners) == {1.0, 3.0}
    assert 80 < corners.count(3.0) < 120
