"""Superpixels that a network classifies."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from test_own_refiner import Pairs, png

from hfpl_jax.data.example import Example
from hfpl_jax.defaults import default_config
from hfpl_jax.errors import InputError
from hfpl_jax.inference.cam_record import CamRecord
from hfpl_jax.losses.balanced_cross_entropy import balanced_cross_entropy
from hfpl_jax.models.region_network import RegionOutput
from hfpl_jax.refine.on_device import on_device
from hfpl_jax.refine.over_segmentation import superpixels
from hfpl_jax.refine.refiner import Padded, Photograph
from hfpl_jax.refine.regions import (
    RegionCrop,
    RegionLoss,
    Regions,
    decode_pieces,
    encode_pieces,
    seeds,
)
from hfpl_jax.runtime.sharding import local_mesh
from hfpl_jax.training.objective import Batch

DEFAULTS = default_config().refine.regions.to_dict()
COUNT = 12


def regions(**fields):
    return Regions.of({**DEFAULTS, "count": COUNT, **fields})


@pytest.mark.parametrize("classes", [[], [4], [1, 3]])
def test_seeds_are_superpixels_that_are_sure(classes):
    rng = np.random.default_rng(0)
    pieces = rng.integers(0, 9, (12, 15))
    means = rng.choice([0.0, 0.1, 0.6], (9, len(classes)))
    cams = np.clip(means[pieces] + rng.uniform(-0.03, 0.03, (12, 15, len(classes))), 0, 1)
    labels = seeds(cams.astype(np.float32), np.array(classes, int), pieces, 0.05, 0.3)
    for piece in range(9):
        own = [float(cams[pieces == piece][:, i].mean()) for i in range(len(classes))]
        highest = max(own, default=0.0)
        expected = 0 if highest < 0.05 else 255
        if highest > 0.3:
            expected = classes[own.index(highest)] + 1
        assert labels[piece] == expected


def test_pieces_are_kept_as_they_are():
    pieces = np.random.default_rng(0).integers(0, 65536, (7, 9))
    np.testing.assert_array_equal(decode_pieces(encode_pieces(pieces), ""), pieces)


def photograph(size=(30, 44), classes=(1,)):
    rng = np.random.default_rng(1)
    image = np.kron(rng.integers(0, 256, (5, 6, 3)), np.ones((6, 8, 1)))[: size[0], : size[1]]
    cams = rng.random((*size, len(classes)), np.float32)
    return Photograph(image.astype(np.uint8), cams, np.array(classes, int), 0.3)


def test_evidence_is_what_the_crop_is_made_of():
    shown, refiner = photograph(), regions(sure=(0.49, 0.51))
    refined, learnt = refiner.evidence(shown, learnt=True)
    pieces = superpixels(shown.image, COUNT)
    labels = seeds(shown.cams, shown.classes, pieces, 0.49, 0.51)
    assert {0, 2} <= set(labels.tolist()) <= {0, 2, 255}
    np.testing.assert_array_equal(refined.mask, labels[pieces])
    np.testing.assert_array_equal(refined.confidence == 0, refined.mask == 255)
    assert refiner.evidence(shown, learnt=False)[1] == {}
    example = Example("a.png", png(shown.image), shown.classes, None, 30, 44)
    crop = RegionCrop(32, COUNT).random_map((learnt, example), np.random.default_rng(0))
    own = crop["labels"]["regions"]
    assert own.shape == (32, 32)
    assert crop["labels"]["seeds"].shape == (COUNT,)
    np.testing.assert_array_equal(crop["labels"]["seeds"][: len(labels)], labels)
    assert (crop["labels"]["seeds"][len(labels) :] == 255).all()
    rows = own[(own >= 0).any(axis=1)]
    assert rows.shape == (30, 32)
    windows = [
        mirrored[:, column : column + 32]
        for mirrored in (pieces, pieces[:, ::-1])
        for column in range(13)
    ]
    assert any(np.array_equal(rows, window) for window in windows)


def test_the_loss_is_of_the_superpixels_in_the_crop():
    logits = jax.random.normal(jax.random.key(0), (1, COUNT, 4))
    pixels = jnp.ones((1, COUNT)).at[0, 3].set(0.0)
    labels = np.arange(COUNT, dtype=np.uint8)[None] % 4
    batch = Batch(
        jnp.zeros((1, 8, 8, 3)),
        {"regions": jnp.zeros((1, 8, 8), jnp.int32), "seeds": jnp.asarray(labels)},
        jnp.ones((1, 8, 8), bool),
        jnp.zeros(()),
    )
    apply = lambda images, *, train, regions: RegionOutput(logits, pixels)  # noqa: E731
    prediction = RegionLoss().predict(apply, batch, jax.random.key(0))
    labels[0, 3] = 255
    expected = balanced_cross_entropy(logits, labels)
    assert float(prediction.losses["regions"]) == pytest.approx(float(expected))
    assert prediction.weights == {"regions": 1.0}


def test_later_rounds_have_their_own_seeds_and_no_colours():
    refiner = regions()
    assert refiner.in_round(1) is refiner
    later = dataclasses.replace(refiner, sure=(0.2, 0.8), colours=False)
    assert refiner.in_round(2) == refiner.in_round(5) == later


def classified(images, sizes, *, regions):
    """Logits of four labels that depend on the superpixel's number alone."""
    number = jnp.arange(COUNT)
    logits = jnp.stack([jnp.sin(1.7 * number + 2.1 * label) for label in range(4)], axis=-1)
    return RegionOutput(jnp.broadcast_to(4 * logits, (len(images), COUNT, 4)), jnp.ones(()))


def by_hand(shown, refiner):
    """Of a photograph the masks and scores, in NumPy."""
    pieces = superpixels(shown.image, COUNT)
    logits = np.asarray(classified(np.zeros(1), None, regions=None).logits)[0]
    own = logits[:, [0, *(shown.classes + 1)]].astype(np.float64)
    shares = np.exp(own) / np.exp(own).sum(axis=1, keepdims=True)
    return np.array([0, *(shown.classes + 1)])[shares.argmax(axis=1)][pieces]


def batch_of(shown, refiner, size):
    height, width = shown.image.shape[:2]
    images = np.full((2, *size, 3), 77, np.uint8)
    images[0, :height, :width] = shown.image
    own = np.full((2, *size), -1, np.int32)
    own[0, :height, :width] = refiner.regions(shown)
    start = refiner.start(shown, 8)
    scores = np.zeros((2, size[0] // 8, size[1] // 8, start.shape[-1]), np.float32)
    scores[0, : start.shape[0], : start.shape[1]] = start
    sizes = np.array([[height, width], size], np.int32)
    classes = np.array([shown.classes, [-1] * len(shown.classes)], np.int32)
    return Padded(*map(jnp.asarray, (images, sizes, scores, classes, own)))


@pytest.mark.parametrize("classes", [(), (1,), (0, 2)])
def test_a_superpixel_has_its_likeliest_label_of_the_photographs(classes):
    shown, refiner = photograph(classes=classes), regions(colours=False)
    refined = refiner.refine(batch_of(shown, refiner, (32, 48)), classified)
    mask = np.asarray(refined.mask)[0, :30, :44]
    np.testing.assert_array_equal(mask, by_hand(shown, refiner))
    assert len(np.unique(mask)) == 1 + len(classes)


def test_padding_changes_nothing():
    shown, refiner = photograph(), regions()
    alone = refiner.refine(batch_of(shown, refiner, (32, 48)), classified)
    padded = refiner.refine(batch_of(shown, refiner, (48, 72)), classified)
    for ours, expected in zip(padded, alone, strict=True):
        np.testing.assert_array_equal(ours[0, :30, :44], expected[0, :30, :44])


def test_colours_extend_what_was_found():
    """Half of a red object is found; all of it is red, and nothing else is."""
    image = np.full((32, 48, 3), 60, np.uint8)
    image[8:24, 12:36] = (230, 20, 20)
    cams = np.zeros((32, 48, 1), np.float32)
    cams[8:24, 12:36] = 0.4
    shown, refiner = Photograph(image, cams, np.array([1]), 0.3), regions()

    def left(images, sizes, *, regions):
        """The superpixels whose middle is in the object's left half."""
        pieces = superpixels(image, COUNT)
        found = np.zeros((32, 48), bool)
        found[8:24, 12:24] = True
        share = np.bincount(pieces.ravel(), found.ravel()) / np.bincount(pieces.ravel())
        logits = np.zeros((2, COUNT, 4), np.float32)
        logits[:, : len(share), 2] = np.where(share > 0.5, 5.0, -5.0)
        return RegionOutput(jnp.asarray(logits), jnp.ones(()))

    def mask(refiner):
        return np.asarray(refiner.refine(batch_of(shown, refiner, (32, 48)), left).mask)[0]

    red, plain = image[..., 0] > 200, mask(regions(colours=False))
    assert 0.2 < np.mean(plain[red] == 2) < 0.8
    extended = mask(refiner)
    assert np.mean(extended[red] == 2) > 0.95
    np.testing.assert_array_equal(extended[~red], plain[~red])


def test_eight_devices_make_the_masks_of_one():
    pairs, refiner = Pairs(), regions()
    for index, size in enumerate([(20, 30), (33, 40), (30, 44), (25, 31), (9, 31)] * 2):
        shown = photograph(size, classes=tuple(range(index % 3)))
        record = CamRecord(
            index, f"{index}.png", shown.classes, shown.classes, shown.cams, np.zeros(3, np.float32)
        ).encode()
        pairs.append(
            (record, Example(f"{index}.png", png(shown.image), shown.classes, None, *size))
        )

    class Network:
        backbone = type("Backbone", (), {"output_stride": 8})()

        def apply(self, variables, images, sizes, *, regions):
            return classified(images, sizes, regions=regions)

    def masks(devices):
        refined = on_device(
            refiner,
            {"some": pairs},
            threshold=0.3,
            batch_size=8,
            padded_shapes=2,
            mesh=jax.sharding.Mesh(
                local_mesh(8, "").devices[:devices],
                ("data",),
                axis_types=(jax.sharding.AxisType.Auto,),
            ),
            network=Network(),
            variables={},
        )
        return {record.file_name: made for record, made in refined("some", set())}

    one, eight = masks(1), masks(8)
    assert one.keys() == eight.keys()
    for name, made in one.items():
        np.testing.assert_array_equal(made.mask, eight[name].mask)
        np.testing.assert_array_equal(made.confidence, eight[name].confidence)


@pytest.mark.parametrize("sure", [(0.3, 0.3), (0.5, 0.1), (0.1, 1.2), (0.1,)])
def test_what_is_sure_is_a_pair(sure):
    with pytest.raises(InputError, match=r"config\.refine\.regions\.sure = .*such as \(0\.05, 0"):
        regions(sure=sure)
