"""What trainings start from is looked at before the first photograph is read."""

import logging
import os

import numpy as np
import pytest
from end_to_end import RECIPES, recipe
from fake_stages import note_runs

from hfpl_jax import pipeline
from hfpl_jax.data.content_hashes import ContentHashes
from hfpl_jax.defaults import default_config
from hfpl_jax.errors import InputError
from hfpl_jax.runtime.manifest import MANIFEST, result_folder, write_manifest
from hfpl_jax.section import value_of
from hfpl_jax.start_checks import check_starts

ALL = pipeline.stage_names()
ABSENT = r"absent\.npz does not exist\. Set config\.model\.weights .* 'random'"


@pytest.fixture
def config():
    """A small network and every stage."""
    config = default_config()
    config.data.options = {"train_size": 2, "val_size": 1, "size": 48}
    config.model.update({"weights": "random", "backbone": "resnet18"})
    config.refine.name = "random_walk"
    config.export.format = "array_record"
    config.segmentation.epochs = 1
    return config


@pytest.fixture
def weights(monkeypatch, tmp_path):
    """A file that fits every backbone."""
    fits = "hfpl_jax.start_checks.load_backbone"
    monkeypatch.setattr(fits, lambda path, variables, backbone: open(path).close())
    (tmp_path / "weights.npz").write_bytes(b"one")
    os.utime(tmp_path / "weights.npz", (1, 1))  # its hash is kept
    return tmp_path / "weights.npz"


@pytest.fixture
def run(monkeypatch, config, tmp_path):
    """`run(stages)` -> names of those that ran, whose workdir is `tmp_path / "run"`."""
    ran = note_runs(monkeypatch)

    def call(stages=ALL):
        ran.clear()
        pipeline.run(config, tmp_path / "run", stages)
        return list(ran)

    return call


@pytest.fixture
def no_photograph(monkeypatch):
    """Whatever asks for the dataset fails."""

    def prepared(context):
        raise AssertionError("a photograph would have been read")

    monkeypatch.setattr(pipeline.data, "prepared", prepared)


def check(config, folder, stages=ALL):
    trainings = [stage for stage in pipeline.stages_of(config) if stage.training]
    check_starts(config, folder / "run", trainings, stages, ContentHashes(folder))


def finished(folder):
    write_manifest(folder, {"fingerprint": "3f2a", "done": True})
    return str(folder)


@pytest.mark.parametrize("name", sorted({name for name, _ in RECIPES}))
def test_every_recipe_but_the_quickstart_asks_for_weights(name, weights, tmp_path):
    config = recipe(name, None)
    if name != "quickstart":
        with pytest.raises(InputError, match=r"config\.model\.weights is empty"):
            check(config, tmp_path)
        config.model.weights = str(weights)
    check(config, tmp_path)


def test_weights_have_to_be_named(config, tmp_path):
    config.model.weights = ""
    with pytest.raises(InputError) as told:
        check(config, tmp_path)
    assert str(told.value) == (
        "config.model.weights is empty, but the network of config.train starts from it. Set it to "
        "a file of ImageNet weights, such as resnet50.safetensors, or to 'random' to train from "
        "random numbers."
    )
    config.train.init_from = finished(tmp_path / "first")
    with pytest.raises(
        InputError, match=r"network of config\.refine\.random_walk\.affinity starts"
    ):
        check(config, tmp_path)
    check(config, tmp_path, ["train", "cams"])


def test_that_nothing_is_frozen_is_said(config, tmp_path, caplog):
    with caplog.at_level(logging.INFO, "hfpl_jax"):
        check(config, tmp_path)
    assert "config.model.weights is 'random', so nothing is frozen." in caplog.messages


def test_a_missing_weight_file_is_told_before_a_photograph_is_read(
    run, config, tmp_path, no_photograph
):
    config.model.weights = str(tmp_path / "absent.npz")
    with pytest.raises(InputError, match=ABSENT):
        run()


def test_what_a_refiner_looks_with_is_needed_where_no_training_starts_from_it(config, tmp_path):
    config.refine.name, config.segmentation.epochs = "patch_affinity", 0
    config.train.init_from = finished(tmp_path / "first")
    config.model.weights = str(tmp_path / "absent.npz")
    with pytest.raises(InputError, match=ABSENT):
        check(config, tmp_path)
    check(config, tmp_path, ["train", "cams"])


def test_a_dry_run_needs_no_weight_file(run, config, tmp_path):
    config.model.weights = str(tmp_path / "absent.npz")
    assert run(["data"]) == []


def test_a_weight_file_that_does_not_fit(config, tmp_path):
    np.savez(tmp_path / "other.npz", conv1=np.zeros(3, np.float32))
    config.model.weights = str(tmp_path / "other.npz")
    with pytest.raises(
        InputError, match=r"other\.npz does not fit the backbone\.(.|\n)*unknown: conv1 \(3,\)"
    ):
        check(config, tmp_path)
    (tmp_path / "other.npz").write_bytes(b"PK")
    with pytest.raises(InputError, match=r"other\.npz cannot be read"):
        check(config, tmp_path)


@pytest.mark.parametrize("section", ["train", "refine.random_walk.affinity", "segmentation"])
def test_another_training_of_the_workdir_is_not_the_wanted_one(
    run, config, section, weights, monkeypatch, request
):
    """All have begun, and the file is gone: they go on without it, others need it."""
    config.model.weights = str(weights)
    assert {"train", "affinity", "segmentation"} <= set(run())
    weights.rename(weights.with_name("moved.npz"))
    assert run() == []
    request.getfixturevalue("no_photograph")
    settings = value_of(config, section)
    usual = settings.learning_rate
    settings.learning_rate = 0.5 * usual
    with pytest.raises(FileNotFoundError):  # what is put in place of load_backbone
        run()
    settings.learning_rate = usual
    with pytest.raises(AssertionError, match="a photograph would have been read"):
        run()


def test_a_training_without_a_whole_checkpoint_has_not_begun(run, config, weights, tmp_path):
    config.model.weights = str(weights)
    run()
    weights.unlink()
    checkpoints = result_folder(tmp_path / "run" / "affinity") / "checkpoints"
    (checkpoints / "1" / "commit_success.txt").unlink()
    with pytest.raises(FileNotFoundError):
        run()


def test_a_damaged_manifest_of_another_training_does_no_harm(run, config, weights, tmp_path):
    config.model.weights = str(weights)
    other = tmp_path / "run" / "train" / "0f" / "checkpoints" / "1"
    other.mkdir(parents=True)
    (other.parents[1] / MANIFEST).write_text("{")
    assert "train" in run()
    weights.unlink()
    assert run() == []


def test_a_run_to_start_from_that_is_none(run, config, tmp_path, request):
    first = tmp_path / "first" / "affinity"
    config.refine.random_walk.affinity.init_from = str(first)
    told = (
        r"config\.refine\.random_walk\.affinity\.init_from = '.*first/affinity' holds no finished "
        r"training\. Name the "
        "folder affinity of a finished run"
    )
    with pytest.raises(InputError, match=told):
        check(config, tmp_path)
    write_manifest(first, {"fingerprint": "3f2a", "done": False})
    with pytest.raises(InputError, match=told):
        check(config, tmp_path)
    finished(first)
    assert "affinity" in run()
    (first / MANIFEST).unlink()
    assert run() == []  # what has begun needs it no more
    request.getfixturevalue("no_photograph")
    config.refine.random_walk.affinity.learning_rate = 0.5
    with pytest.raises(InputError, match=told):
        run()
