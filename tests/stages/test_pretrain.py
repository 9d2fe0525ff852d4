"""The pretraining through the pipeline, on tiny scenes: four steps, of which every second
is saved.
"""

import jax
import numpy as np
import pytest
from end_to_end import tiny

import hfpl_jax
from hfpl_jax import pipeline
from hfpl_jax.build import (
    build_network,
    initial_variables,
    make_network,
    pretrained_backbone,
    trained_variables,
)
from hfpl_jax.data.dataset import Dataset
from hfpl_jax.errors import InputError
from hfpl_jax.load_network import load_trained_backbone
from hfpl_jax.runtime.manifest import result_folder
from hfpl_jax.runtime.sharding import local_mesh, put_batch
from hfpl_jax.stages import train
from hfpl_jax.stages.context import Context
from hfpl_jax.training import loop
from hfpl_jax.training.metric_log import read_rows

STEPS, VIEWS = 4, 16
STAGES = ["data", "pretrain"]


def the_config(**fields):
    config = tiny()
    config.model.resnet.output_stride = 8
    config.data.options.unlabelled_size = 16
    config.pretrain.update({"epochs": 2, "batch_size": VIEWS, "crop_size": 56})
    config.pretrain.split = "unlabelled"
    config.pretrain.update(fields)
    return config


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pretrained")
    pipeline.run(the_config(), folder, STAGES)
    return folder


def end_of(workdir):
    network = make_network(the_config(), "pretrain", 0)
    mesh = local_mesh(8, "")
    return jax.device_get(trained_variables(network, workdir / "pretrain", mesh))


@pytest.mark.slow
def test_it_logs_its_terms_and_their_sum(workdir):
    rows = read_rows(result_folder(workdir / "pretrain"))
    assert [row["step"] for row in rows] == [2, 4]
    terms = ("one_to_five", "one_to_seven", "five_to_five", "regulariser")
    for row in rows:
        assert row["loss"] == pytest.approx(sum(row[name] for name in terms), rel=1e-5)


@pytest.mark.slow
def test_every_network_starts_from_its_backbone(workdir):
    end, folder = end_of(workdir), workdir / "pretrain"
    config = the_config()
    plain = initial_variables(config, make_network(config, "pretrain", 0), None)
    kernel = plain["params"]["backbone"]["stem"]["kernel"]
    assert np.any(kernel != end["params"]["backbone"]["stem"]["kernel"])  # it has learnt
    network = build_network(config, 8)
    start = initial_variables(config, network, folder)
    for kind in ("params", "batch_stats"):
        jax.tree.map(np.testing.assert_array_equal, start[kind]["backbone"], end[kind]["backbone"])
    random = initial_variables(config, network, None)
    np.testing.assert_array_equal(
        start["params"]["head"]["kernel"], random["params"]["head"]["kernel"]
    )
    found = pretrained_backbone(config, network.backbone, folder)
    jax.tree.map(np.testing.assert_array_equal, found["params"], end["params"]["backbone"])
    _, model, _, loaded = load_trained_backbone(workdir)
    assert model.network == "pretraining"
    jax.tree.map(np.testing.assert_array_equal, loaded["params"], end["params"]["backbone"])
    with pytest.raises(InputError, match="is of a pretraining, whose network knows no classes"):
        hfpl_jax.load(result_folder(folder))


@pytest.mark.slow
def test_the_classifier_is_trained_from_it(workdir):
    config, dataset = the_config(), Dataset(workdir / "data" / "scenes" / "1.0.0")
    reads = {stage.name: stage.reads for stage in pipeline.stages_of(config)}
    context = Context(config, workdir, workdir, dataset, reads["train"])
    start = train.job(context).variables(None)
    jax.tree.map(
        np.testing.assert_array_equal,
        start["params"]["backbone"],
        end_of(workdir)["params"]["backbone"],
    )


FINAL = {"segmentation.epochs": 1, "export.formats": ("array_record",)}


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"pretrain.epochs": 0}, set()),
        ({}, {"train"}),
        (FINAL | {"refine.name": "random_walk"}, {"train", "affinity", "segmentation"}),
        (FINAL | {"segmentation.init_from": "runs/a/segmentation"}, {"train"}),
        (
            {"refine.name": "patch_affinity", "neighbours.enabled": True},
            {"train", "neighbours", "labels"},
        ),
    ],
)
def test_what_would_be_random_reads_it(fields, expected):
    config = the_config()
    config.update_from_flattened_dict(fields)
    stages = pipeline.stages_of(config)
    assert {stage.name for stage in stages if "pretrain" in stage.reads} == expected
    assert ("pretrain" in [stage.name for stage in stages]) == bool(config.pretrain.epochs)


@pytest.mark.slow
def test_killed_and_resumed_it_ends_as_undisturbed(workdir, tmp_path, monkeypatch):
    """To the last bit."""
    calls = []

    def killed(mesh, batch):
        calls.append(batch)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return put_batch(mesh, batch)

    with monkeypatch.context() as patch:
        patch.setattr(loop, "put_batch", killed)
        with pytest.raises(KeyboardInterrupt):
            pipeline.run(the_config(), tmp_path, STAGES)
    pipeline.run(the_config(), tmp_path, STAGES)
    jax.tree.map(np.testing.assert_array_equal, end_of(tmp_path), end_of(workdir))
    rows = [read_rows(result_folder(folder / "pretrain")) for folder in (tmp_path, workdir)]
    assert rows[0] == rows[1]


def test_a_batch_of_more_photographs_than_there_are_is_told(tmp_path):
    config = the_config(batch_size=48)
    with pytest.raises(
        InputError,
        match=r"batch_size = 48 is 24 photographs in 2 views, but the split unlabelled has 16: .* "
        r"Set it to 32 at most",
    ):
        pipeline.run(config, tmp_path, STAGES)
    assert len(Dataset(tmp_path / "data" / "scenes" / "1.0.0").split("unlabelled")) == 16
    config.pretrain.split = "unlabeled"
    with pytest.raises(InputError, match="has no split 'unlabeled'; it has train, val, unlabelled"):
        pipeline.run(config, tmp_path, STAGES)
