"""The probe with both losses through every stage, on tiny scenes, with the features of
a backbone of random numbers.
"""

import json

import jax
import numpy as np
import pytest
from end_to_end import tiny

import hfpl_jax
from hfpl_jax import pipeline
from hfpl_jax.build import build_network, pretrained_backbone, trained_variables
from hfpl_jax.data.dataset import Dataset, decode_mask
from hfpl_jax.errors import InputError
from hfpl_jax.inference.cam_record import CamRecord, as_stored
from hfpl_jax.runtime.manifest import read_manifest, result_folder
from hfpl_jax.runtime.records import RecordReader
from hfpl_jax.runtime.sharding import local_mesh
from hfpl_jax.training.metric_log import read_rows

pytestmark = [pytest.mark.slow, pytest.mark.optimized]


def the_config():
    config = tiny(method__name="probe", method__probe__long_side=48, method__probe__upsample=2)
    config.method.probe.layers, config.method.probe.width = ("layer2", "layer4"), 16
    config.inference.scales, config.inference.flip = (1.0,), False
    config.run.cam_batch_size, config.run.log_every = 8, 1
    return config


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
    folder = tmp_path_factory.mktemp("probe")
    pipeline.run(the_config(), folder)
    return folder


def records(workdir, stage, split):
    return {each["file_name"]: each for each in RecordReader(workdir / stage / split)}


def test_the_head_has_learnt_and_the_backbone_has_not(workdir):
    config = the_config()
    network = build_network(config, 8)
    found = trained_variables(network, workdir / "train", local_mesh(8, ""))
    backbone = pretrained_backbone(config, network.backbone)
    for name, part in backbone.items():
        jax.tree.map(np.testing.assert_array_equal, found[name]["backbone"], part)
    assert np.abs(found["params"]["gain_layer4"] - 1).max() > 1e-3
    for row in read_rows(result_folder(workdir / "train")):
        expected = row["classification"] + row["feature_similarity"]
        assert row["loss"] == pytest.approx(expected, rel=1e-5)


def test_new_photographs_get_the_masks_of_the_pipeline(workdir):
    """There from stored features, here from the backbone itself."""
    train = Dataset(workdir / "data" / "scenes" / "1.0.0").split("train")
    cams, labels = records(workdir, "cams", "train"), records(workdir, "labels", "train")
    network = hfpl_jax.load(workdir, "cam")
    pixels = [example.pixels() for example in train]
    shown = [example.labels.tolist() for example in train]
    equal = 0
    for example, maps, made in zip(
        train, network.cams(pixels, shown), network.predict(pixels, shown), strict=True
    ):
        record = CamRecord.decode(cams[example.file_name])
        np.testing.assert_allclose(as_stored(maps), record.cams, atol=2.1 / 255)
        mask = decode_mask(labels[example.file_name]["mask"], example.file_name)
        equal += np.mean(made.mask == mask)
    assert equal / len(train) > 0.999
    assert max(CamRecord.decode(each).cams.max(initial=0.0) for each in cams.values()) > 0.5


def test_other_heads_learn_from_the_same_features(workdir):
    before = read_manifest(workdir / "features")
    config = the_config()
    config.method.probe.decoder, config.seed = "3x3", 1
    config.inference.long_side = 64  # the backbone is run
    pipeline.run(config, workdir, ["features", "train", "cams", "metrics"])
    assert read_manifest(workdir / "features") == before
    metrics = json.loads((workdir / "metrics" / "metrics.json").read_text())
    assert 0.0 < metrics["train/cam/miou"] < 1.0


def test_features_of_another_size_are_not_learnt_from(workdir):
    config = the_config()
    config.method.probe.long_side = 64
    with pytest.raises(
        InputError,
        match=r"The stage train needs the result of features, which is missing, unfinished or of "
        r"another configuration\. Add features to --stages\.",
    ):
        pipeline.run(config, workdir, ["train"])


def test_what_a_run_takes_is_told_before_there_are_features(tmp_path):
    text = pipeline.dry_run(the_config(), tmp_path)
    assert "12 steps of 8 images, 1 a device on 8 devices" in text
    assert "\nThe features layer2, layer4 of 32 photographs take up to " in text
    assert not (tmp_path / "features").exists()
