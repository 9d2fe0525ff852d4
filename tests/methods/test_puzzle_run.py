"""PuzzleCAM with both losses through every stage, on tiny scenes and from random
weights: twelve steps.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from end_to_end import tiny

from hfpl_jax import pipeline
from hfpl_jax.build import build_network, initial_variables, trained_variables
from hfpl_jax.data.dataset import Dataset, decode_image
from hfpl_jax.data.transforms.resample import resize
from hfpl_jax.inference.cam_record import CamRecord
from hfpl_jax.inference.padding import scaled_size
from hfpl_jax.methods.puzzle import Puzzle
from hfpl_jax.models.preprocess import normalize
from hfpl_jax.runtime.manifest import result_folder
from hfpl_jax.runtime.records import RecordReader
from hfpl_jax.runtime.sharding import local_mesh
from hfpl_jax.training.metric_log import read_rows

pytestmark = pytest.mark.slow

STEPS = 12
FSL = "feature_similarity"  # whose weight in this recipe is 1


def the_config():
    config = tiny(method__name="puzzle")
    config.train.crop_size = 64  # four tiles of two by two cells
    config.run.log_every = 1
    config.inference.scales = (1.0,)
    return config


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
    folder = tmp_path_factory.mktemp("puzzle")
    pipeline.run(the_config(), folder)
    return folder


@pytest.fixture(scope="module")
def dataset(workdir):
    return Dataset(workdir / "data" / "scenes" / "1.0.0")


@pytest.fixture(scope="module")
def trained(workdir, dataset):
    """The network, and its variables at the start and at the end."""
    config = the_config()
    network = build_network(config, len(dataset.class_names))
    end = trained_variables(network, workdir / "train", local_mesh(8, ""))
    return network, initial_variables(config, network, None), end


def test_the_reconstruction_grows_over_half_of_the_training(workdir):
    rows = read_rows(result_folder(workdir / "train"))
    assert [row["step"] for row in rows] == list(range(1, STEPS + 1))
    weights = [
        (row["loss"] - row["classification"] - row["classification_tiles"] - row[FSL])
        / row["reconstruction"]
        for row in rows
    ]
    expected = [4.0 * min(done / (STEPS / 2), 1.0) for done in range(STEPS)]
    np.testing.assert_allclose(weights, expected, atol=1e-4)


def test_every_statistic_is_that_of_batches(trained):
    _, start, end = trained
    moved = jax.tree.map(
        lambda before, after: bool(np.all(before != after)),
        start["batch_stats"],
        end["batch_stats"],
    )
    assert all(jax.tree.leaves(moved))


def test_cams_are_those_of_the_photograph_alone(workdir, dataset, trained):
    """At their size, from 0 to 1: the positive parts of both mirror images' logits."""
    network, _, variables = trained
    records = {
        record.file_name: record
        for record in map(CamRecord.decode, RecordReader(workdir / "cams" / "val"))
    }
    split = dataset.split("val")
    assert len(records) == len(split) == 8
    for record in records.values():
        assert 0.0 <= record.cams.min() <= record.cams.max() <= 1.0
        peaks = record.cams.max((0, 1))
        assert ((peaks == 1.0) | (peaks == 0.0)).all()
    assert max(record.cams.max() for record in records.values()) == 1.0

    example = split[0]
    photograph = decode_image(example.image, example.file_name)
    size = scaled_size(photograph.shape[:2], 48 / max(photograph.shape[:2]))
    scaled = resize(photograph, *size)[None]
    forward, valid = jax.jit(network.apply), np.ones((1, *size), bool)
    plain, mirrored = (
        np.maximum(forward(variables, normalize(jnp.asarray(view), valid)).logits[0], 0.0)
        for view in (scaled, scaled[:, :, ::-1])
    )
    maps = [plain + mirrored[:, ::-1]]
    expected = Puzzle().merge(maps, example.labels, [size], photograph.shape[:2], 16)
    np.testing.assert_allclose(records[example.file_name].cams, expected, atol=0.5 / 255 + 1e-4)


def test_the_report_names_the_method(workdir):
    report = (workdir / "report" / "report.html").read_text()
    assert '<th>Method</th><td class="fact">PuzzleCAM</td>' in report
