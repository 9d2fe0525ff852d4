import io

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from hfpl_jax.data.dataset import Example
from hfpl_jax.inference.cam_record import CamRecord
from hfpl_jax.losses.enlarged_error import projected
from hfpl_jax.models.cam_network import CamOutput
from hfpl_jax.refine.refinement_learning import (
    Refinement,
    RefinementCrop,
    RefinementLearning,
    RefinementLoss,
    strongest_alone,
)
from hfpl_jax.refine.refiner import Padded, Photograph
from hfpl_jax.section import defaults
from hfpl_jax.training.objective import Batch

DEFAULTS = defaults(Refinement)


def test_the_largest_maps_of_a_pixel_are_learnt():
    cams = np.array([[[0.2, 0.7], [0.5, 0.5], [0.0, 0.0]]], np.float32)
    expected = [[[0.0, 0.7], [0.5, 0.5], [0.0, 0.0]]]
    np.testing.assert_allclose(strongest_alone(cams), expected)
    assert strongest_alone(np.zeros((3, 4, 0), np.float32)).shape == (3, 4, 0)


def element(height, width, classes):
    rng = np.random.default_rng(0)
    png = io.BytesIO()
    Image.fromarray(rng.integers(0, 256, (height, width, 3), np.uint8)).save(png, "PNG")
    cams = np.rint(255 * rng.random((height, width, len(classes)))).astype(np.float32) / 255
    labels = np.array(classes)
    record = CamRecord(0, "a.png", labels, labels, cams, np.full(5, 0.5, np.float32))
    example = Example(
        file_name="a.png",
        image=png.getvalue(),
        labels=labels,
        segmentation_mask=None,
        height=height,
        width=width,
    )
    return (record.encode(), example), cams


def test_a_crop_has_the_maps_of_its_own_pixels():
    """All of the photograph, which is smaller than the crop, as it is or mirrored."""
    pair, cams = element(20, 24, [1, 4])
    crop = RefinementCrop(crop_size=32, cell=8).random_map(pair, np.random.default_rng(1))
    assert crop["image"].shape == (32, 32, 3)
    assert crop["valid"].all()
    maps = crop["labels"]["maps"]
    assert maps.shape == (4, 4, 5)
    assert not maps[..., [0, 2, 3]].any()
    learnt = strongest_alone(cams)
    assert crop["labels"]["energy"] == pytest.approx(np.square(learnt).sum(), rel=1e-5)
    found = []
    for mirrored in (learnt, learnt[:, ::-1]):
        for row in range(13):
            for column in range(9):
                square = np.zeros((32, 32, 2), np.float32)
                square[row : row + 20, column : column + 24] = mirrored
                found.append(np.abs(projected(square, (4, 4)) - maps[..., [1, 4]]).max())
    assert min(found) < 1e-4


def test_a_photograph_of_background_teaches_zeros():
    pair, _ = element(20, 24, [])
    labels = RefinementCrop(crop_size=16, cell=8).random_map(pair, np.random.default_rng(1))[
        "labels"
    ]
    assert labels["maps"].shape == (2, 2, 5)
    assert not labels["maps"].any()
    assert labels["energy"] == 0.0


def test_the_loss_is_one_term():
    logits = jnp.ones((1, 2, 2, 5))
    learnt = {"maps": jnp.zeros((1, 2, 2, 5)), "energy": jnp.zeros(1)}
    batch = Batch(jnp.zeros((1, 16, 16, 3)), learnt, jnp.ones((1, 16, 16), bool), jnp.zeros(()))
    apply = lambda images, *, train: CamOutput(logits, {})  # noqa: E731
    prediction = RefinementLoss().predict(apply, batch, jax.random.key(0))
    assert prediction.weights == {"regression": 1.0}
    assert float(prediction.losses["regression"]) == pytest.approx(1.0)


def network(images, sizes):
    """The mean brightness of each cell of 8 pixels, twice, and a channel below 0."""
    b, height, width, _ = images.shape
    padded = jnp.pad(images.mean(-1), ((0, 0), (0, -height % 8), (0, -width % 8)))
    cells = padded.reshape(b, padded.shape[1] // 8, 8, padded.shape[2] // 8, 8).mean((2, 4))
    return CamOutput(jnp.stack([cells, -jnp.ones_like(cells), 2 * cells], axis=-1), {})


def batch_of(image, size, classes, threshold):
    height, width = size
    images = np.full((2, height, width, 3), 77, np.uint8)
    images[0, : image.shape[0], : image.shape[1]] = image
    scores = np.zeros((2, height // 8, width // 8, 1 + len(classes)), np.float32)
    scores[0, : -(-image.shape[0] // 8), : -(-image.shape[1] // 8), 0] = threshold
    sizes = np.array([image.shape[:2], (height, width)], np.int32)
    rows = np.array([classes, [-1] * len(classes)], np.int32)
    return Padded(*map(jnp.asarray, (images, sizes, scores, rows)))


@pytest.fixture
def refine():
    refiner = RefinementLearning.of({"refinement": DEFAULTS})
    return lambda batch: jax.jit(lambda batch: refiner.refine(batch, network))(batch)


def bright(height, width):
    image = np.zeros((height, width, 3), np.uint8)
    image[: height // 2, : width // 2] = 250
    return image


def test_masks_are_where_the_maps_are_above_the_threshold(refine):
    mask, confidence = refine(batch_of(bright(64, 96), (64, 96), [0, 1], 0.5))
    assert set(np.unique(mask[0])) == {0, 1}  # the class below 0 is nowhere
    assert (mask[0, :24, :40] == 1).all()
    assert not mask[0, 40:].any()
    assert confidence.dtype == jnp.uint8


def test_padding_and_other_photographs_change_nothing(refine):
    alone = refine(batch_of(bright(56, 72), (56, 72), [0, -1], 0.4))
    padded = refine(batch_of(bright(56, 72), (80, 96), [0, -1], 0.4))
    for ours, expected in zip(padded, alone, strict=True):
        np.testing.assert_array_equal(ours[0, :56, :72], expected[0])
    assert set(np.unique(alone.mask[0])) == {0, 1}


@pytest.mark.parametrize("size", [(64, 96), (12, 200), (5, 7)])
def test_every_cell_has_the_threshold(size):
    """Also the last one of a photograph that does not fill it."""
    cams = np.ones((*size, 2), np.float32)
    photograph = Photograph(np.zeros((*size, 3), np.uint8), cams, np.array([0, 1]), 0.4)
    start = RefinementLearning.of({"refinement": DEFAULTS}).start(photograph, 16)
    assert start.shape == (-(-size[0] // 16), -(-size[1] // 16), 3)
    assert (start[..., 0] == np.float32(0.4)).all()
    assert not start[..., 1:].any()
