"""What is looked at before the first photograph is read: devices, networks."""

import json
import re

import pytest
from end_to_end import RECIPES, recipe
from tiny_datasets import make_folder

from hfpl_jax import pipeline
from hfpl_jax.defaults import default_config
from hfpl_jax.errors import InputError
from hfpl_jax.runtime.manifest import write_manifest
from hfpl_jax.section import value_of
from hfpl_jax.settings import check
from hfpl_jax.training.class_names import check_class_names, write_class_names
from hfpl_jax.training.settings import stage_of

ALL = pipeline.stage_names()
SECTIONS = ("train", "refine.random_walk.affinity", "segmentation")
OF_REFINERS = ("refine.refinement_learning.refinement", "refine.regions.mining")


@pytest.fixture
def config():
    """A small network and every stage."""
    config = default_config()
    config.model.update({"weights": "random", "backbone": "resnet18"})
    config.model.resnet.width = 16
    config.refine.name = "random_walk"
    config.export.formats = ("array_record",)
    config.segmentation.epochs = 1
    return config


@pytest.mark.parametrize("more", ["", "debug"])
@pytest.mark.parametrize(("name", "switches"), RECIPES)
def test_every_recipe_passes(name, switches, more):
    config = recipe(name, f"{switches},{more}")
    config.model.weights = config.model.weights or "resnet50.safetensors"  # each is told to name
    for section in (*SECTIONS, *OF_REFINERS):  # for the eight devices of the tests, in groups too
        value_of(config, section).batch_size = 48
    config.run.cam_batch_size = 16
    check(config, ALL)


def test_shared_features_lie_outside_the_folders_of_stages(config, tmp_path):
    """Those are emptied when they are done again; a manifest of others is none of ours."""
    config.method.name = "probe"
    stage = tmp_path / "run" / "features"
    for folder in (stage, tmp_path / "page"):
        folder.mkdir(parents=True)
    write_manifest(stage, {"stage": "features", "fingerprint": "0f", "done": True})
    (tmp_path / "page" / "manifest.json").write_text('{"name": "a page"}')
    for folder in (stage, stage / "records"):
        config.run.features = str(folder)
        with pytest.raises(
            InputError,
            match=r"config\.run\.features = .* lies in .*/run/features, the folder of a stage, "
            r".* Name a folder outside it\.",
        ):
            check(config, ["data"])
    for folder in (tmp_path / "run" / "stored_features", tmp_path / "page"):
        config.run.features = str(folder)
        check(config, ["data"])


@pytest.mark.parametrize("section", SECTIONS)
def test_batches_divide_into_the_devices(config, section):
    value_of(config, section).batch_size = 12
    with pytest.raises(
        InputError,
        match=rf"config\.{re.escape(section)}\.batch_size = 12 does not divide into 8 devices\. "
        "Set it to a multiple of 8, such as 8 or 16",
    ):
        check(config, ALL)
    check(config, [stage for stage in ALL if stage != stage_of(section)])


def test_photographs_of_inference_divide_into_the_devices(config):
    config.run.cam_batch_size = 4
    check(config, ["cams", "predictions"])  # mirrored ones make eight
    with pytest.raises(
        InputError, match=r"config\.run\.cam_batch_size = 4 does not divide into 8 devices"
    ):
        check(config, ["labels"])  # the walk looks at each once
    config.instances.enabled = True
    with pytest.raises(InputError, match=r"config\.run\.cam_batch_size = 4"):
        check(config, ["instances"])
    config.inference.flip = False
    with pytest.raises(InputError, match=r"config\.run\.cam_batch_size = 4"):
        check(config, ["cams"])
    check(config, ["neighbours"])  # there is no such stage yet
    config.neighbours.enabled = True
    with pytest.raises(InputError, match=r"config\.run\.cam_batch_size = 4"):
        check(config, ["neighbours"])


@pytest.fixture
def photographs(config, tmp_path):
    """a.jpg beside a.png, and a configuration of them."""
    names = ("a.jpg", "a.png", "b.jpg")
    root = make_folder(
        tmp_path / "photos", "file_name,labels\na.jpg,cat\na.png,dog\nb.jpg,cat;dog\n", names
    )
    config.data.update({"name": "folder", "root": str(root), "val_split": ""})
    config.refine.name, config.segmentation.epochs = "threshold", 0
    return config


def test_two_photographs_of_one_png_are_told_before_the_training(photographs, tmp_path):
    photographs.export.formats = ("png",)
    with pytest.raises(
        InputError,
        match=r"'a\.jpg' and 'a\.png' would both become a\.png in an export as PNG\. Rename one",
    ):
        pipeline.run(photographs, tmp_path / "run")
    assert not (tmp_path / "run" / "train").exists()
    photographs.export.formats = ("tfrecord",)
    pipeline.run(photographs, tmp_path / "run", ["data"])


def test_a_run_of_other_classes_is_refused_before_the_training(photographs, tmp_path):
    first = tmp_path / "first"
    (first / "checkpoints" / "7").mkdir(parents=True)
    (first / "checkpoints" / "7" / "commit_success.txt").touch()
    write_manifest(first, {"fingerprint": "3f2a", "done": True})
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
