"""DRS with both losses through every stage, on tiny scenes and from random weights."""

import json

import numpy as np
import pytest
from end_to_end import tiny

import hfpl_jax
from hfpl_jax import pipeline
from hfpl_jax.build import make_network
from hfpl_jax.data.dataset import Dataset, decode_image, decode_mask
from hfpl_jax.inference.cam_record import CamRecord
from hfpl_jax.runtime.manifest import result_folder
from hfpl_jax.runtime.records import RecordReader
from hfpl_jax.training.metric_log import read_rows

pytestmark = pytest.mark.slow


def the_config():
    config = tiny(method__name="drs", model__suppression="learnable", train__schedule="step")
    config.run.cam_batch_size, config.run.log_every = 8, 1
    config.refine.name = "refinement_learning"
    refinement = config.refine.refinement_learning.refinement
    refinement.epochs, refinement.batch_size, refinement.crop_size = 2, 8, 48
    refinement.learning_rate = 0.0003
    return config


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
    folder = tmp_path_factory.mktemp("drs")
    pipeline.run(the_config(), folder)
    return folder


def test_the_rate_falls_in_steps(workdir):
    rows = read_rows(result_folder(workdir / "train"))
    rates = {round(row["learning_rate"], 6) for row in rows}
    assert rates == {0.05, 0.005, 0.0005}


def test_the_loaded_network_is_suppressed_as_well(workdir):
    model = json.loads((result_folder(workdir / "train") / "model.json").read_text())
    assert model["backbone"]["suppression"] == "learnable"
    records = map(CamRecord.decode, RecordReader(workdir / "cams" / "train"))
    record = next(each for each in records if each.cams.max() > 0.0)
    examples = Dataset(workdir / "data" / "scenes" / "1.0.0").split("train")
    example = next(each for each in examples if each.file_name == record.file_name)
    network = hfpl_jax.load(workdir, "cam")
    photograph = decode_image(example.image, example.file_name)
    [cams] = network.cams([photograph], [example.labels.tolist()])
    np.testing.assert_allclose(cams, record.cams, atol=0.5 / 255 + 1e-3)


def test_its_refinement_learns_the_maps_and_makes_the_labels(workdir):
    """Without a stage of evidence: the CAMs are what is learnt."""
    rows = read_rows(result_folder(workdir / "refinement"))
    assert [row["step"] for row in rows] == [1, 2, 3, 4, 5, 6]
    assert len({row["regression"] for row in rows}) == 6
    labels = {each["file_name"]: each for each in RecordReader(workdir / "labels" / "train")}
    dataset = Dataset(workdir / "data" / "scenes" / "1.0.0")
    examples = dataset.split("train")
    assert len(labels) == len(examples)
    for example in examples:
        mask = decode_mask(labels[example.file_name]["mask"], example.file_name)
        assert mask.shape == (example.height, example.width)
        assert set(np.unique(mask)) <= {0, *(example.labels + 1)}
    metrics = json.loads((workdir / "labels" / "metrics.json").read_text())
    assert 0.0 < metrics["train/pseudo_label/miou"] < 1.0
    page = (workdir / "report" / "report.html").read_text()
    assert "refinement learning, 2 epochs of regression of the CAMs" in page
    assert not (workdir / "crf").exists()


def test_no_other_network_is_suppressed():
    config = the_config()
    assert make_network(config, "train", 3).backbone.suppression == "learnable"
    for section in ("segmentation", "refine.random_walk.affinity"):
        with config.unlocked():
            config.refine.name = "random_walk"
        assert make_network(config, section, 3).backbone.suppression == ""
