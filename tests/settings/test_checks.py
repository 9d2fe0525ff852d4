"""What is looked at before the first photograph is read: files, devices, networks."""

import json
import logging

import numpy as np
import pytest
from end_to_end import ROOT, recipe
from tiny_datasets import make_folder

from hfpl_jax import pipeline
from hfpl_jax.defaults import default_config
from hfpl_jax.errors import InputError
from hfpl_jax.settings import check
from hfpl_jax.training.class_names import check_class_names, write_class_names

ALL = pipeline.STAGE_NAMES
RECIPES = [
    *((path.stem, None) for path in sorted((ROOT / "configs").glob("*.py"))),
    *((path.stem, "debug") for path in sorted((ROOT / "configs").glob("*.py"))),
    ("seam", "published"),
    ("seam", "published,debug"),
    ("voc", "isl=0,fsl=0"),
    ("quickstart", "isl=1,seed=3"),
]


@pytest.fixture
def config():
    """A small network and every stage."""
    config = default_config()
    config.model.update({"weights": "random", "depth": 18, "width": 16})
    config.refine.method = "random_walk"
    config.export.format = "array_record"
    config.segmentation.epochs = 1
    return config


@pytest.fixture
def weights(monkeypatch):
    """The name of a file that fits every backbone."""
    monkeypatch.setattr("hfpl_jax.settings.checks.load_backbone", lambda path, variables: variables)
    return "resnet50.safetensors"


@pytest.mark.parametrize(("name", "switches"), RECIPES)
def test_every_recipe_passes(name, switches, weights, tmp_path):
    config = recipe(name, switches)
    config.train.batch_size = config.affinity.batch_size = config.segmentation.batch_size = 16
    config.run.cam_batch_size = 16  # for the eight devices of the tests
    if name != "quickstart":
        with pytest.raises(InputError, match=r"config\.model\.weights is empty"):
            check(config, tmp_path, ALL)
        config.model.weights = weights
    check(config, tmp_path, ALL)


def test_weights_have_to_be_named(config, tmp_path):
    config.model.weights = ""
    with pytest.raises(InputError) as told:
        check(config, tmp_path, ALL)
    assert str(told.value) == (
        "config.model.weights is empty, but the network of config.train starts from it. Set it to "
        "a file of ImageNet weights, such as resnet50.safetensors, or to 'random' to train from "
        "random numbers."
    )
    check(config, tmp_path, ["data"])  # of which a dry run needs no more
    (tmp_path / "first" / "checkpoints" / "7").mkdir(parents=True)
    config.train.init_from = str(tmp_path / "first")
    with pytest.raises(InputError, match=r"the network of config\.affinity starts from it"):
        check(config, tmp_path, ALL)
    check(config, tmp_path, ["data", "train", "cams"])


def test_a_missing_weight_file(config, tmp_path):
    config.model.update({"weights": str(tmp_path / "absent.npz"), "width": 64})
    with pytest.raises(
        InputError, match=r"absent\.npz does not exist\. Set config\.model\.weights .* 'random'"
    ):
        check(config, tmp_path, ALL)
    check(config, tmp_path, ["data", "report"])  # no training, no file
    for name in ("train", "affinity", "segmentation"):  # what has begun needs it no more
        (tmp_path / name / "checkpoints" / "2").mkdir(parents=True)
    check(config, tmp_path, ALL)


def test_a_weight_file_that_does_not_fit(config, tmp_path):
    np.savez(tmp_path / "other.npz", conv1=np.zeros(3, np.float32))
    config.model.update({"weights": str(tmp_path / "other.npz"), "width": 64})
    with pytest.raises(
        InputError, match=r"other\.npz does not fit the backbone\.(.|\n)*unknown: conv1 \(3,\)"
    ):
        check(config, tmp_path, ALL)
    (tmp_path / "other.npz").write_bytes(b"PK")
    with pytest.raises(InputError, match=r"other\.npz cannot be read"):
        check(config, tmp_path, ALL)


def test_a_run_to_start_from_that_is_none(config, tmp_path):
    config.affinity.init_from = str(tmp_path / "runs")
    with pytest.raises(
        InputError,
        match=r"config\.affinity\.init_from = '.*runs' holds no checkpoints\. Name the folder "
        "affinity of a finished run",
    ):
        check(config, tmp_path / "run", ALL)
    begun = tmp_path / "run" / "affinity" / "3f2a" / "checkpoints" / "7"
    begun.mkdir(parents=True)
    check(config, tmp_path / "run", ALL)  # what has begun needs it no more
    begun.rmdir()
    (tmp_path / "runs" / "checkpoints" / "7").mkdir(parents=True)
    check(config, tmp_path / "run", ALL)


@pytest.mark.parametrize("section", ["train", "affinity", "segmentation"])
def test_batches_divide_into_the_devices(config, section, tmp_path):
    config[section].batch_size = 12
    with pytest.raises(
        InputError,
        match=rf"config\.{section}\.batch_size = 12 does not divide into 8 devices\. Set it to a "
        "multiple of 8, such as 8 or 16",
    ):
        check(config, tmp_path, ALL)
    check(config, tmp_path, [stage for stage in ALL if stage != section])


def test_photographs_of_inference_divide_into_the_devices(config, tmp_path):
    config.run.cam_batch_size = 4
    check(config, tmp_path, ["cams", "predictions"])  # mirrored ones make eight
    with pytest.raises(
        InputError, match=r"config\.run\.cam_batch_size = 4 does not divide into 8 devices"
    ):
        check(config, tmp_path, ["labels"])  # the walk looks at each once
    config.inference.flip = False
    with pytest.raises(InputError, match=r"config\.run\.cam_batch_size = 4"):
        check(config, tmp_path, ["cams"])


@pytest.mark.parametrize("section", ["train", "affinity", "segmentation"])
def test_patterns_fit_the_network_of_their_section(config, section, weights, tmp_path):
    config.model.update({"weights": weights, "width": 64})
    check(config, tmp_path, ALL)
    frozen = config[section].freeze
    config[section].freeze = (*frozen, "^backbone/layer9/")
    with pytest.raises(
        InputError,
        match=rf"The pattern '\^backbone/layer9/' in config\.{section}\.freeze matches no "
        "parameter",
    ):
        check(config, tmp_path, ALL)
    config[section].freeze = (".",)
    with pytest.raises(
        InputError, match=rf"config\.{section}\.freeze = \['\.'\] freezes every parameter"
    ):
        check(config, tmp_path, ALL)
    config.model.weights = "random"  # then nothing is frozen, so no pattern has to fit
    check(config, tmp_path, ALL)


def test_that_nothing_is_frozen_is_said(config, tmp_path, caplog):
    with caplog.at_level(logging.INFO, "hfpl_jax"):
        check(config, tmp_path, ALL)
    assert "config.model.weights is 'random', so nothing is frozen." in caplog.messages


@pytest.fixture
def photographs(config, tmp_path):
    """a.jpg beside a.png, and a configuration of them."""
    names = ("a.jpg", "a.png", "b.jpg")
    root = make_folder(
        tmp_path / "photos", "file_name,labels\na.jpg,cat\na.png,dog\nb.jpg,cat;dog\n", names
    )
    config.data.update({"name": "folder", "root": str(root), "val_split": ""})
    config.refine.method, config.segmentation.epochs = "", 0
    return config


def test_two_photographs_of_one_png_are_told_before_the_training(photographs, tmp_path):
    photographs.export.format = "png"
    with pytest.raises(
        InputError,
        match=r"'a\.jpg' and 'a\.png' would both become a\.png in an export as PNG\. Rename one",
    ):
        pipeline.run(photographs, tmp_path / "run")
    assert not (tmp_path / "run" / "train").exists()
    photographs.export.format = "tfrecord"
    pipeline.run(photographs, tmp_path / "run", ["data"])


def test_a_run_of_other_classes_is_refused_before_the_training(photographs, tmp_path):
    first = tmp_path / "first"
    (first / "checkpoints" / "7").mkdir(parents=True)
    write_class_names(first, ("dog", "cat"))
    photographs.train.init_from = str(first)
    with pytest.raises(
        InputError,
        match=r"config\.train\.init_from = '.*first' was trained for other classes: its class 1 is "
        r"'dog', here 'cat'\. Name a run of the same classes in the same order, or empty "
        r"config\.train\.init_from\.",
    ):
        pipeline.run(photographs, tmp_path / "run")
    assert not (tmp_path / "run" / "train").exists()


def test_class_names_beside_a_checkpoint(tmp_path, caplog):
    check_class_names(tmp_path, ("cat", "dog"), "segmentation")
    assert "does not say which classes it was trained for" in caplog.text
    write_class_names(tmp_path, ("cat", "chien à poil"))
    assert json.loads((tmp_path / "class_names.json").read_text()) == ["cat", "chien à poil"]
    check_class_names(tmp_path, ("cat", "chien à poil"), "segmentation")
    with pytest.raises(InputError, match="it has 2 classes, this dataset 1"):
        check_class_names(tmp_path, ("cat",), "segmentation")
    (tmp_path / "class_names.json").write_bytes(b"[")
    with pytest.raises(InputError, match=r"class_names\.json cannot be read"):
        check_class_names(tmp_path, ("cat",), "segmentation")
    write_class_names(tmp_path / "affinity", ())  # it predicts no classes
    assert not (tmp_path / "affinity").exists()
