"""CAMs of a split of seven small photographs of four sizes, by a narrow ResNet-18 with
random weights.
"""

import dataclasses
import io
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from hfpl_jax.data.dataset import Example
from hfpl_jax.inference.cam_record import CamRecord
from hfpl_jax.inference.cams import cam_predictor, write_cams
from hfpl_jax.inference.multi_scale import MultiScale, photograph_sizes
from hfpl_jax.inference.padding import plan_shapes
from hfpl_jax.methods.cam import Cam
from hfpl_jax.methods.merge import merge_cams
from hfpl_jax.methods.method import Maps
from hfpl_jax.models.backbones.resnet import ResNet
from hfpl_jax.models.cam_network import CamNetwork
from hfpl_jax.runtime.records import RecordReader
from hfpl_jax.runtime.sharding import put_batch

NUM_CLASSES = 5
OUTPUT_STRIDE = 8
SETTINGS = MultiScale(scales=(0.75, 1.0), long_side=None, flip=True, batch_size=3)
SIZES = [(44, 61), (61, 44), (44, 61), (40, 70), (57, 57), (61, 44), (44, 61)]
LABELS = [(0, 3), (1,), (2, 3, 4), (0,), (4,), (1, 2), ()]
COMPARED = (1, 3)  # one of each padded shape, a portrait and a landscape
STEP = 1 / 510  # half a step of the stored maps


class Photographs(Sequence):
    """A split in memory; `fails_at` is the photograph that cannot be read."""

    name = "photographs"

    def __init__(self, pixels, fails_at=None):
        self._pixels, self._fails_at = pixels, fails_at

    def __len__(self):
        return len(self._pixels)

    def __getitem__(self, index):
        index = range(len(self))[index]
        if index == self._fails_at:
            raise RuntimeError("killed")
        png = io.BytesIO()
        Image.fromarray(self._pixels[index]).save(png, "PNG")
        return Example(
            f"{index}.png",
            png.getvalue(),
            np.array(LABELS[index], np.int64),
            None,
            *self._pixels[index].shape[:2],
        )


@pytest.fixture(scope="module")
def pixels():
    rng = np.random.default_rng(0)
    return [
        np.asarray(Image.fromarray(rng.integers(0, 256, (7, 9, 3), np.uint8)).resize(size[::-1], 3))
        for size in SIZES
    ]


@pytest.fixture(scope="module")
def network(pixels):
    """The module, its variables, and the logits of one unpadded photograph or its
    mirror image.
    """
    module = CamNetwork(ResNet(18, OUTPUT_STRIDE, width=16), NUM_CLASSES)
    variables = jax.jit(module.init)(jax.random.key(0), jnp.zeros((1, 32, 32, 3)))
    forward = jax.jit(module.apply)
    # Every class gets logits of both signs: its weights are made orthogonal to the mean
    # feature.
    features = forward(variables, normalised(pixels[1])).features["layer4"]
    mean = features.mean((0, 1, 2))
    kernel = variables["params"]["head"]["kernel"]
    variables["params"]["head"]["kernel"] = kernel - jnp.outer(mean, mean @ kernel) / (mean @ mean)
    return (
        module,
        variables,
        lambda photograph: np.asarray(forward(variables, normalised(photograph)).logits)[0],
    )


def normalised(photograph):
    scaled = (photograph / np.float32(255) - np.float32([0.485, 0.456, 0.406])) / np.float32(
        [0.229, 0.224, 0.225]
    )
    return jnp.asarray(scaled[None], jnp.float32)


@pytest.fixture(scope="module")
def mesh():
    return jax.make_mesh(
        (1,), ("data",), axis_types=(jax.sharding.AxisType.Auto,), devices=jax.devices()[:1]
    )


class Positive(Cam):
    """A method whose maps are no logits and, like SEAM's, never negative."""

    def maps(self, apply, images, sizes, mirrored=None):
        logits = apply(images, sizes=sizes).logits
        return Maps(jax.nn.softplus(logits), logits)


@pytest.fixture(scope="module")
def run(network, mesh, pixels):
    """`run(split, directory, ...)` writes the records, with the same two predictors for
    the whole module, and reads them.
    """
    module, variables, _ = network
    predictors = {
        labels: cam_predictor(module, method, variables, SETTINGS, mesh)
        for labels, method in (("given", Cam()), ("predicted", Positive()))
    }
    shapes = plan_shapes(np.array(SIZES), 2)

    def write_and_read(split, directory, image_labels="given"):
        written = write_cams(
            predictors[image_labels],
            split,
            directory,
            method=Cam(),
            num_classes=NUM_CLASSES,
            image_labels=image_labels,
            sizes=photograph_sizes(Photographs(pixels), SETTINGS),
            shapes=shapes,
            shard_size=2,
        )
        records = [CamRecord.decode(record) for record in RecordReader(directory)]
        assert written == len(records)
        return {record.file_name: record for record in records}

    write_and_read.predictor, write_and_read.shapes = predictors["given"], shapes
    return write_and_read


@pytest.fixture(scope="module")
def records(run, pixels, tmp_path_factory):
    return run(Photographs(pixels), tmp_path_factory.mktemp("cams"))


@pytest.fixture(scope="module")
def direct_cams(network):
    """CAMs of one photograph, unpadded and alone, spelled out."""
    logits_of = network[2]

    def cams_of(photograph, classes, of_logits=np.asarray):
        height, width = photograph.shape[:2]
        maps, logits, sizes = [], [], []
        for scale in SETTINGS.scales:
            size = round(height * scale), round(width * scale)
            scaled = np.asarray(
                Image.fromarray(photograph).resize(size[::-1], Image.Resampling.BICUBIC)
            )
            plain, mirrored = logits_of(scaled), logits_of(scaled[:, ::-1])[:, ::-1]
            maps.append(of_logits(plain) + of_logits(mirrored))
            logits.append(plain + mirrored)
            sizes.append(size)
        cams = merge_cams([of_scale[..., classes] for of_scale in maps], sizes, (height, width))
        return cams, np.mean([of_scale.mean((0, 1)) for of_scale in logits], axis=0)

    return cams_of


def test_records_hold_the_given_classes(records, pixels):
    assert sorted(records) == [f"{i}.png" for i in range(len(SIZES))]
    for index, (size, labels) in enumerate(zip(SIZES, LABELS, strict=True)):
        record = records[f"{index}.png"]
        assert record.index == index
        assert tuple(record.labels) == tuple(record.classes) == labels
        assert record.cams.shape == (*size, len(labels))
        assert (record.cams.max((0, 1)) > 0.9).all()


def test_cams_do_not_depend_on_padding_and_neighbours(records, direct_cams, pixels):
    for index in COMPARED:
        cams, _ = direct_cams(pixels[index], list(LABELS[index]))
        np.testing.assert_allclose(
            records[f"{index}.png"].cams, np.clip(cams, 0, 1), atol=STEP + 1e-4
        )


def test_logits_of_a_padded_batch_equal_the_unpadded_ones(run, network, mesh, pixels):
    """The same without the rounding to 8 bits of the records."""
    _, variables, logits_of = network
    height, width = run.shapes[-1]
    images = np.random.default_rng(1).integers(
        0, 256, (6, height, width, 3), np.uint8
    )  # whatever lies in the padding
    sizes = np.full((6, 2), (height, width), np.int32)
    for row, index in enumerate(COMPARED):
        sizes[row] = SIZES[index]
        images[row, : sizes[row, 0], : sizes[row, 1]] = pixels[index]
    together = jax.jit(run.predictor.logits)
    logits = np.asarray(
        together(variables, *put_batch(mesh, {"images": images, "sizes": sizes}).values())
    )
    for row, index in enumerate(COMPARED):
        alone = logits_of(pixels[index])
        np.testing.assert_allclose(
            logits[row, : alone.shape[0], : alone.shape[1]],
            np.concatenate([alone, alone], axis=-1),  # the maps, then what they are pooled from
            atol=1e-4 * np.abs(alone).max(),
        )


def test_compilations_are_bounded_by_shapes_and_scales(records, run):
    assert len(run.shapes) == 2
    programs = run.predictor.compiled._cache_size()
    assert 1 <= programs <= len(run.shapes) * len(SETTINGS.scales)


def test_killed_run_continues(records, run, pixels, tmp_path):
    with pytest.raises(RuntimeError, match="killed"):
        run(
            Photographs(pixels, fails_at=3), tmp_path
        )  # in the last of three batches: it has a padded shape of its own
    survived = {record["file_name"] for record in RecordReader(tmp_path)}
    assert 0 < len(survived) < len(SIZES)
    read = []

    class Counted(Photographs):
        def __getitem__(self, index):
            read.append(f"{index}.png")
            return super().__getitem__(index)

    resumed = run(Counted(pixels), tmp_path)
    assert not survived & set(read)  # nothing is computed twice
    assert len(resumed) == len(RecordReader(tmp_path)) == len(SIZES)
    for name, record in records.items():
        np.testing.assert_allclose(resumed[name].cams, record.cams, atol=2 * STEP)
        assert resumed[name].index == record.index
        np.testing.assert_array_equal(resumed[name].classes, record.classes)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    run(Photographs(pixels, fails_at=0), tmp_path)  # everything is there: no photograph is opened
    assert {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()} == before


def test_predicted_labels(records, run, direct_cams, pixels, tmp_path):
    predicted = run(Photographs(pixels), tmp_path, image_labels="predicted")
    for index in COMPARED:
        record = predicted[f"{index}.png"]
        pooled = direct_cams(pixels[index], [0])[1]
        expected = {int(label) for label in np.flatnonzero(pooled > 0)} | {int(pooled.argmax())}
        # Of one image: `pooled` is of two that were added up.
        np.testing.assert_allclose(record.probabilities, 1 / (1 + np.exp(-pooled / 2)), atol=1e-4)
        assert set(record.classes.tolist()) == expected
        assert record.classes.tolist() == sorted(record.classes.tolist())
        assert tuple(record.labels) == LABELS[index]
        cams, _ = direct_cams(pixels[index], record.classes, lambda logits: np.logaddexp(logits, 0))
        np.testing.assert_allclose(record.cams, np.clip(cams, 0, 1), atol=STEP + 1e-4)
    assert len(predicted["6.png"].classes)  # the photograph without given labels


def test_mirrored_photograph_has_mirrored_cams(records, run, pixels, tmp_path):
    mirrored = run(Photographs([photograph[:, ::-1] for photograph in pixels]), tmp_path)
    for name, record in records.items():
        # Pillow's bicubic rounds to 8 bits, the same on both sides but for single grey
        # levels.
        np.testing.assert_allclose(mirrored[name].cams[:, ::-1], record.cams, atol=0.02)


def test_long_side_is_that_of_scale_one():
    settings = dataclasses.replace(SETTINGS, long_side=320)
    assert settings.base_size((375, 500)) == (240, 320)
    assert settings.base_size((100, 40)) == (320, 128)
    assert SETTINGS.base_size((375, 500)) == (375, 500)
