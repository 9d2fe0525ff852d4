"""Instances of photographs: of regions and responses by hand, and of a small network."""

import dataclasses
import functools
from collections.abc import Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hfpl_jax.inference.instances import (
    ANY,
    Proposals,
    instances_of,
    write_instances,
)
from hfpl_jax.inference.multi_scale import MultiScale
from hfpl_jax.inference.peak_predictor import PeakPredictor, Seen, strong_peaks
from hfpl_jax.inference.peak_responses import peak_responses
from hfpl_jax.instance import Instance, decode_rle
from hfpl_jax.losses import find_peaks
from hfpl_jax.models.cam_network import CamOutput
from hfpl_jax.models.convolution import BiasedConvolution, Convolution
from hfpl_jax.runtime.records import RecordReader
from hfpl_jax.runtime.sharding import Mesh


def box(rows, columns, shape=(16, 20)):
    region = np.zeros(shape, bool)
    region[rows, columns] = True
    return region


LEFT, RIGHT = box(slice(2, 12), slice(1, 8)), box(slice(2, 12), slice(12, 19))
BOTH = LEFT | RIGHT | box(slice(2, 12), slice(8, 12))


def seen_at(*peaks, responses, classes=3):
    """Logits of 4 by 5 cells, the same everywhere: no pixel is beyond a class."""
    logits = np.zeros((4, 5, classes), np.float32)
    maps = np.stack([region / region.sum() for region in responses])
    return Seen(logits, np.array(peaks), maps.astype(np.float32))


def proposals(*regions, classes=None):
    return Proposals(np.stack(regions), np.array(classes or [ANY] * len(regions)))


def inner(region):
    """A row in the middle of a region."""
    return region & (np.arange(len(region)) == 6)[:, None]


def test_each_peak_takes_its_region():
    seen = seen_at((0, 1, 1), (2, 1, 4), responses=[inner(LEFT), inner(RIGHT)])
    first, second = instances_of(seen, proposals(LEFT, RIGHT))
    assert {first.label, second.label} == {0, 2}
    for found in (first, second):
        expected = LEFT if found.label == 0 else RIGHT
        np.testing.assert_array_equal(decode_rle(found.segmentation), expected)
        # Of the row in the middle, two pixels at each end lie on the contour.
        assert found.score == pytest.approx(0.8 + 4 / 7)
    assert first.score >= second.score
    # Corners aligned: cell 1 of 4 lies on row 5, cells 1 and 4 of 5 on columns 4.75 and 19.
    assert {one.label: one.peak for one in (first, second)} == {0: (5, 5), 2: (5, 19)}


def test_peaks_of_one_region_are_one_instance():
    seen = seen_at((0, 1, 1), (0, 2, 1), responses=[inner(LEFT), LEFT])
    (found,) = instances_of(seen, proposals(LEFT, RIGHT))
    assert found.peak == (10, 5)  # of the map with more on the contour
    np.testing.assert_array_equal(decode_rle(found.segmentation), LEFT)


def test_a_proposal_of_another_class_is_not_taken():
    seen = seen_at((0, 1, 1), (2, 1, 4), responses=[inner(LEFT), inner(RIGHT)])
    (found,) = instances_of(seen, proposals(LEFT, RIGHT, BOTH, classes=[1, 2, 2]))
    assert found.label == 2
    np.testing.assert_array_equal(decode_rle(found.segmentation), RIGHT)


def test_instances_have_the_size_of_the_photograph():
    """Which the network saw at another one."""
    large = [np.kron(region, np.ones((3, 2), bool)) for region in (LEFT, RIGHT)]
    seen = seen_at((0, 1, 1), responses=[inner(LEFT)])
    (found,) = instances_of(seen, proposals(*large))
    np.testing.assert_array_equal(decode_rle(found.segmentation), large[0])
    assert found.peak == (16, 10)


NOTHING = {
    "no peak": (Seen(np.zeros((4, 5, 3)), np.zeros((0, 3), int), np.zeros((0, 16, 20))), LEFT),
    "no response": (
        Seen(np.zeros((4, 5, 3)), np.array([[0, 1, 1]]), np.zeros((1, 16, 20))),
        LEFT,
    ),
    "a region of everything": (seen_at((0, 1, 1), responses=[LEFT]), np.ones((16, 20), bool)),
    "no response in the region": (seen_at((0, 1, 1), responses=[LEFT]), box(0, 19)),
}


@pytest.mark.parametrize("case", NOTHING)
def test_nothing_to_find(case):
    seen, region = NOTHING[case]
    assert instances_of(seen, proposals(region)) == []


def test_a_photograph_without_proposals():
    none = Proposals(np.zeros((0, 16, 20), bool), np.zeros(0, int))
    assert instances_of(seen_at((0, 1, 1), responses=[LEFT]), none) == []


def test_a_photograph_of_one_pixel():
    seen = Seen(np.ones((1, 1, 2)), np.array([[1, 0, 0]]), np.ones((1, 1, 1)))
    assert instances_of(seen, proposals(np.ones((1, 1), bool))) == []  # all of it is no instance


def test_strong_peaks():
    logits = np.zeros((5, 6, 3), np.float32)
    logits[1, 1, 0], logits[3, 4, 0], logits[2, 2, 1] = 9.0, 4.0, 6.0
    logits[..., 2] = -1.0
    found, every = np.asarray(find_peaks(logits[None])[0]), np.arange(3)

    def peaks(classes=every, **options):
        return strong_peaks(logits, found, classes, **options).tolist()

    assert peaks(least=3.0) == [[0, 1, 1], [0, 3, 4], [1, 2, 2]]
    assert peaks(least=4.0) == [[0, 1, 1], [1, 2, 2]]
    assert peaks(least=0.0, share=0.5) == [[0, 1, 1], [1, 2, 2]]
    assert peaks(least=0.0, share=0.4) == [[0, 1, 1], [0, 3, 4], [1, 2, 2]]
    assert peaks(np.array([1, 2]), least=3.0) == [[1, 2, 2]]
    assert strong_peaks(logits, found, every[:0], least=0.0).shape == (0, 3)


STRIDE, CLASSES = 4, 3
SIZES = [(24, 33), (33, 24), (24, 33), (20, 40), (44, 31)]
SHAPES = [(40, 64), (64, 40)]


class Backbone(nn.Module):
    output_stride = STRIDE


class Small(nn.Module):
    """Two convolutions of stride 2 and one to the logits."""

    backbone: nn.Module = dataclasses.field(default_factory=Backbone)
    dtype: str = "float32"

    @nn.compact
    def __call__(self, images, sizes=None, train=False):
        dtype = jnp.dtype(self.dtype)
        x = images.astype(dtype)
        x, sizes = Convolution(6, 3, stride=2, dtype=dtype, name="first")(x, sizes)
        x, sizes = Convolution(8, 3, stride=2, dtype=dtype, name="second")(nn.relu(x), sizes)
        x = nn.relu(x).astype(jnp.float32)
        return CamOutput(BiasedConvolution(CLASSES, 1, name="head")(x, sizes), {})


@dataclasses.dataclass(frozen=True)
class Photograph:
    file_name: str
    image: np.ndarray
    classes: np.ndarray

    @property
    def labels(self):
        return self.classes

    @property
    def height(self):
        return self.image.shape[0]

    @property
    def width(self):
        return self.image.shape[1]

    def pixels(self):
        return self.image

    def proposals(self):
        left = np.arange(self.width) < self.width // 2
        region = np.broadcast_to(left, (self.height, self.width))
        return proposals(region, ~region)


class Photographs(Sequence):
    """`fails_at` is the photograph that cannot be read; those read are noted."""

    def __init__(self, fails_at=None):
        rng = np.random.default_rng(0)
        images = [rng.integers(0, 256, (*size, 3), np.uint8) for size in SIZES]
        classes = [np.arange(index % 4) for index in range(len(SIZES))]  # the first has none
        self._all = [
            Photograph(f"{index}.png", *both)
            for index, both in enumerate(zip(images, classes, strict=True))
        ]
        self._fails_at, self.read = fails_at, []

    def __len__(self):
        return len(self._all)

    def __getitem__(self, index):
        index = range(len(self))[index]
        if index == self._fails_at:
            raise RuntimeError("killed")
        self.read.append(f"{index}.png")
        return self._all[index]


@pytest.fixture(scope="module")
def network():
    module = Small()
    return module, jax.jit(module.init)(jax.random.key(0), jnp.zeros((1, 32, 32, 3)))


def predictor_of(network, devices=1):
    mesh = Mesh(
        np.asarray(jax.devices()[:devices]),
        ("data",),
        axis_types=(jax.sharding.AxisType.Auto,),
    )
    settings = MultiScale(scales=(1.0,), long_side=None, flip=False, batch_size=2)
    return PeakPredictor(*network, settings, mesh, least=-1e6, share=0.0)


def seen_by(predictor):
    tasks = [(0, (0, 2)), (0, (3,)), (1, (1, 4))]
    batches = predictor.batches(Photographs(), tasks, SHAPES, lambda index, photograph, seen: seen)
    return dict(one for batch in batches for one in batch)


@pytest.fixture(scope="module")
def one_device(network):
    predictor = predictor_of(network)
    return predictor, seen_by(predictor)


def test_responses_are_those_of_the_photograph_alone(one_device, network):
    """Of padded batches, whose peaks are spread over other batches."""
    module, variables = network
    predictor, found = one_device
    assert sorted(found) == list(range(len(SIZES)))
    mean, std = np.float32([0.485, 0.456, 0.406]), np.float32([0.229, 0.224, 0.225])
    alone = jax.jit(functools.partial(peak_responses, module))
    for index in (2, 3):
        photograph = Photographs()[index]
        image = (photograph.image / np.float32(255) - mean) / std
        logits = np.asarray(module.apply(variables, image[None]).logits[0])
        seen = found[index]
        np.testing.assert_allclose(seen.logits, logits, atol=1e-4)
        expected = np.argwhere(np.asarray(find_peaks(logits[None])[0]).transpose(2, 0, 1))
        expected = expected[np.isin(expected[:, 0], photograph.classes)]
        np.testing.assert_array_equal(seen.peaks, expected)
        assert len(expected) > predictor.settings.batch_size
        responses = np.asarray(alone(variables, image, expected))
        np.testing.assert_allclose(seen.responses, responses, atol=1e-5)
    assert found[0].peaks.shape == (0, 3)
    assert found[0].responses.shape == (0, 24, 33)


def test_two_devices_see_what_one_does(one_device, network):
    _, expected = one_device
    for index, seen in seen_by(predictor_of(network, devices=2)).items():
        np.testing.assert_array_equal(seen.peaks, expected[index].peaks)
        np.testing.assert_allclose(seen.responses, expected[index].responses, atol=1e-5)


def test_half_precision_is_finite_and_close(one_device, network):
    _, expected = one_device
    found = seen_by(predictor_of((Small(dtype="bfloat16"), network[1])))
    for index, seen in found.items():
        assert seen.responses.dtype == np.float32
        assert np.isfinite(seen.responses).all()
        np.testing.assert_allclose(seen.logits, expected[index].logits, atol=0.05)
    total = found[3].responses.sum((1, 2))
    np.testing.assert_allclose(total, 1.0, atol=1e-3)


def test_compilations_are_bounded_by_the_shapes(one_device):
    predictor, _ = one_device
    assert predictor.predictor.compiled._cache_size() == predictor.respond._cache_size() == 2


def write(network, photographs, directory):
    written = write_instances(
        predictor_of(network),
        photographs,
        directory,
        name="photographs",
        sizes={f"{index}.png": size for index, size in enumerate(SIZES)},
        shapes=SHAPES,
        shard_size=2,
    )
    assert written == len(SIZES)
    records = {record["file_name"]: record for record in RecordReader(directory)}
    assert len(records) == len(SIZES)
    return records


def test_a_killed_run_goes_on(network, tmp_path):
    whole = write(network, Photographs(), tmp_path / "whole")
    assert whole["0.png"]["instances"] == []
    for index, (height, width) in enumerate(SIZES):
        record = whole[f"{index}.png"]
        assert (record["index"], record["height"], record["width"]) == (index, height, width)
        found = [Instance.decode(one) for one in record["instances"]]
        assert len(found) <= 2  # as there are regions
        assert {one.label for one in found} <= set(range(index % 4))
        assert [one.score for one in found] == sorted((one.score for one in found), reverse=True)
        for one in found:
            assert np.isfinite(one.score)
            assert decode_rle(one.segmentation).shape == (height, width)
    assert whole["3.png"]["instances"]
    with pytest.raises(RuntimeError, match="killed"):
        write(network, Photographs(fails_at=4), tmp_path / "killed")
    survived = {record["file_name"] for record in RecordReader(tmp_path / "killed")}
    assert 0 < len(survived) < len(SIZES)
    photographs = Photographs()
    assert write(network, photographs, tmp_path / "killed") == whole
    assert not survived & set(photographs.read)
