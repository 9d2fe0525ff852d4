"""What the final network learns: terms and weights, labels at the logits' cells."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hfpl_jax.losses import locally_adaptive_loss
from hfpl_jax.losses.cross_entropy import segmentation_loss
from hfpl_jax.models.ocr_head import Scores
from hfpl_jax.resize import resize_bilinear
from hfpl_jax.training.objective import Batch, total_loss
from hfpl_jax.training.objectives.pixel_losses import CrossEntropy, Lal, nearest_labels
from hfpl_jax.training.objectives.segmentation import Segmentation

CLASSES = 2
RNG = np.random.default_rng(0)
IMAGES = jnp.zeros((2, 17, 25, 3))
LABELS = RNG.choice([0, 1, 2, 255], (2, 17, 25)).astype(np.uint8)
LOGITS, COARSE = RNG.normal(size=(2, 2, 5, 7, CLASSES + 1)).astype(np.float32)
GRID = LABELS[:, ::4, ::4]
"""A map of 5 x 7 enlarged with aligned corners has a cell in every fourth pixel."""


def predicted(loss, auxiliary):
    def apply(images, **arguments):
        assert images is IMAGES
        assert arguments == {"train": True, "auxiliary": True}
        return Scores(jnp.asarray(LOGITS), auxiliary)

    given = Batch(IMAGES, LABELS, jnp.ones(IMAGES.shape[:3], bool), jnp.zeros(()))
    return Segmentation(loss).predict(apply, given, jax.random.key(0))


def test_cross_entropy_is_that_of_enlarged_logits():
    def by_hand(logits):
        return segmentation_loss(resize_bilinear(logits, (17, 25), align_corners=True), LABELS)

    made = predicted(CrossEntropy(), None)
    assert dict(made.weights) == {"cross_entropy": 1.0}
    assert float(total_loss(made)) == pytest.approx(float(by_hand(LOGITS)), rel=1e-6)
    made = predicted(CrossEntropy(), jnp.asarray(COARSE))
    expected = by_hand(LOGITS) + 0.4 * by_hand(COARSE)
    assert float(total_loss(made)) == pytest.approx(float(expected), rel=1e-6)
    np.testing.assert_array_equal(made.logits, LOGITS)


@pytest.mark.parametrize(
    "settings",
    [
        {"window": 3, "sigma": 1.0, "k": 2.0, "stride": 2},
        {"mode": "per_class", "window": 2, "k": 1.0},
    ],
)
def test_lal_is_that_of_the_labels_at_the_cells(settings):
    made = predicted(Lal(**settings), jnp.asarray(COARSE))
    assert made.losses.keys() == {"lal", "auxiliary"}
    for name, logits in (("lal", LOGITS), ("auxiliary", COARSE)):
        expected = locally_adaptive_loss(logits, GRID, **settings)
        assert float(made.losses[name]) == pytest.approx(float(expected), rel=1e-6)


def test_labels_come_from_the_nearest_pixel():
    np.testing.assert_array_equal(nearest_labels(LABELS, (5, 7)), GRID)
    # 16 pixels on 4 cells: 0, 5, 10, 15; on 3: 0, 7.5 and thus 8, 15.
    row = np.arange(16, dtype=np.uint8)[None, None]
    np.testing.assert_array_equal(nearest_labels(row, (1, 4)), [[[0, 5, 10, 15]]])
    np.testing.assert_array_equal(nearest_labels(row, (1, 3)), [[[0, 8, 15]]])
    np.testing.assert_array_equal(nearest_labels(row, (1, 16)), row)
