import numpy as np
import pytest

from hfpl_jax.data.transforms.affinity_labels import affinity_label_map, average_pool


@pytest.mark.parametrize(
    ("size", "cell"), [((16, 24), 8), ((13, 9), 8), ((1, 1), 8), ((5, 7), 2), ((3, 4), 1)]
)
def test_average_pool(size, cell):
    maps = np.random.default_rng(0).random((*size, 3)).astype(np.float32)
    pooled = average_pool(maps, cell)
    assert pooled.dtype == np.float32
    assert pooled.shape == (-(-size[0] // cell), -(-size[1] // cell), 3)
    for y in range(pooled.shape[0]):
        for x in range(pooled.shape[1]):
            square = maps[y * cell : (y + 1) * cell, x * cell : (x + 1) * cell].astype(np.float64)
            np.testing.assert_allclose(
                pooled[y, x], square.sum((0, 1)) / cell**2, rtol=1e-6
            )  # what is outside counts 0


# The strongest channel of the low-alpha and of the high-alpha scores, and the label of
# a photograph of the classes 4 and 11.
CASES = [
    (0, 0, 0),
    (0, 1, 255),
    (0, 2, 255),
    (1, 0, 0),
    (1, 1, 5),
    (1, 2, 5),
    (2, 0, 0),
    (2, 1, 12),
    (2, 2, 12),
]


@pytest.mark.parametrize(("strongest_low", "strongest_high", "label"), CASES)
@pytest.mark.parametrize("cell", [8, 16])
def test_label_of_one_cell(strongest_low, strongest_high, label, cell):
    low, high = (np.full((cell, cell, 3), 0.2, np.float32) for _ in range(2))
    low[..., strongest_low] = high[..., strongest_high] = 0.6
    labels = affinity_label_map(low, high, np.array([4, 11]), cell=cell)
    assert labels.dtype == np.uint8
    assert labels.tolist() == [[label]]


def test_the_mean_of_a_cell_decides():
    low = np.zeros((8, 8, 2), np.float32)
    low[..., 0] = 1.0
    low[:4] = [0.1, 0.9]
    low[4, :2] = [0.0, 1.0]  # 30 pixels of background at 1, 32 pixels of background at 0.1
    high = np.broadcast_to(np.float32([0.3, 0.7]), (8, 8, 2))
    assert low[..., 0].mean() > low[..., 1].mean()
    assert affinity_label_map(low, high, np.array([0])).tolist() == [[255]]
    low[4, 2:6] = [0.0, 1.0]
    assert low[..., 0].mean() < low[..., 1].mean()
    assert affinity_label_map(low, high, np.array([0])).tolist() == [[1]]


def test_where_nothing_scores_is_ignored():
    scores = np.zeros((8, 32, 2), np.float32)
    scores[:, 8:16, 0] = 1e-6  # background, but too little
    scores[:, 17, 1] = 1.0  # one column of the cell lies inside: what there is decides
    scores[0, 24, 0] = 1.0
    assert affinity_label_map(scores, scores, np.array([2])).tolist() == [[255, 255, 3, 0]]
    # One of the two maps that scores is enough.
    assert affinity_label_map(scores * 0, scores, np.array([2])).tolist() == [[255, 255, 255, 0]]
    assert affinity_label_map(scores, scores * 0, np.array([2]))[0, 2] == 0


def test_no_classes():
    scores = np.ones((16, 8, 1), np.float32)
    assert affinity_label_map(scores, scores, np.zeros(0, np.int64)).tolist() == [[0], [0]]


def test_maps_of_different_classes_are_refused():
    with pytest.raises(Exception, match="scores_high_alpha"):
        affinity_label_map(
            np.ones((8, 8, 2), np.float32), np.ones((8, 8, 3), np.float32), np.array([1])
        )
