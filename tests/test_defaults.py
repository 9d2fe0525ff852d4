"""The recipes and their switches."""

import dataclasses

import pytest
from end_to_end import RECIPES, ROOT, recipe

from hfpl_jax.defaults import DATASETS, DEBUG, SMALL, apply_switches, default_config
from hfpl_jax.errors import InputError
from hfpl_jax.recipe import load_recipe
from hfpl_jax.refine import PUBLISHED_CRF, CrfSettings
from hfpl_jax.refine.crf import Crf
from hfpl_jax.refine.walk import WalkCrf
from hfpl_jax.section import value_of
from hfpl_jax.settings import Settings
from hfpl_jax.settings.training import FinalCrf
from hfpl_jax.stages.fields import leaves


def changed(name, switches):
    """The fields of a recipe that are not the defaults."""
    config, plain = recipe(name, switches), default_config()
    options = {"data.options": config.data.options.to_dict()}
    values = {
        path: value_of(config, path) for path in leaves(config) if not path.startswith("data.opt")
    }
    return {
        path: value
        for path, value in {**values, **options}.items()
        if value != (value_of(plain, path) if path != "data.options" else {})
    }


VOC = {"data.name": "voc_seg", "data.train_split": "trainaug", "data.score_split": "train"}
COCO = {
    "data.name": "coco_seg",
    "data.options": {"year": "2017", "mask_rule": "largest_first"},
    "hfpl.fsl_weight": 0.2,
}
FOLDER = {
    "data.name": "folder",
    "data.options": {"labels": "labels.csv", "masks": ""},
    "data.val_split": "",
}
TWO_CORES = {
    "data.label_split": "train",
    "hfpl.isl_weight": 0.05,
    "train.batch_size": 4,
    "train.crop_size": 192,
    "train.resize_long": (256, 448),
    "train.sgd.momentum": 0.9,
    "train.learning_rate": 0.005,
    "train.multipliers": ((r"^(?!backbone/)", 20.0),),
    "train.freeze_stages": 3,
    "inference.scales": (1.0,),
    "inference.long_side": 448,
    "inference.flip": False,
    "run.cam_batch_size": 16,
    "run.log_every": 50,
}
SEAM = {
    "method.name": "seam",
    "model.dropout": 0.5,
    "train.epochs": 8,
    "train.learning_rate": 0.005,
    "train.sgd.momentum": 0.9,
    "refine.name": "random_walk",
    "refine.random_walk.steps": 16,
    "refine.random_walk.affinity.sgd.momentum": 0.9,
    "refine.random_walk.affinity.learning_rate": 0.001,
    "export.format": "array_record",
    "segmentation.epochs": 30,
    "segmentation.frozen_batch_norm": True,
}
SEAM_ON_TWO_CORES = {
    "method.seam.view_scale": 0.6,
    "model.dropout": 0.0,
    "train.epochs": 3,
    "train.crop_size": 160,
    "train.resize_long": (208, 352),
    "train.multipliers": ((r"^(?!backbone/)", 6.0),),
    "inference.long_side": 352,
    "refine.random_walk.affinity.epochs": 3,
    "refine.random_walk.affinity.batch_size": 4,
    "refine.random_walk.affinity.learning_rate": 0.005,
    "refine.random_walk.affinity.crop_size": 160,
    "refine.random_walk.affinity.freeze_stages": 3,
    "refine.random_walk.alpha": 6.0,
    "refine.random_walk.beta": 16,
    "segmentation.epochs": 8,
    "segmentation.learning_rate": 0.004,
    "segmentation.clip": 5.0,
    "segmentation.batch_size": 4,
    "segmentation.crop_size": 160,
    "segmentation.scale_range": (0.4, 0.7),
    "segmentation.freeze_stages": 3,
    "segmentation.scales": (1.0,),
    "segmentation.long_side": 320,
}


@pytest.mark.parametrize(
    ("name", "switches", "expected"),
    [
        ("cam", "", VOC),
        ("cam", "data=voc", VOC),
        ("cam", "data=coco", COCO),
        ("cam", "data=folder", FOLDER),
        ("cam", "data=voc,small", VOC | TWO_CORES),
        ("cam", "small,data=coco", COCO | TWO_CORES),
        ("seam", "", VOC | SEAM),
        ("seam", "data=coco", COCO | SEAM),
        ("seam", "data=folder", FOLDER | SEAM | {"segmentation.epochs": 0}),
        ("seam", "small", VOC | SEAM | TWO_CORES | SEAM_ON_TWO_CORES),
    ],
)
def test_what_a_recipe_and_its_switches_change(name, switches, expected):
    plain = default_config()
    different = {
        path: value
        for path, value in expected.items()
        if path == "data.options" or value != value_of(plain, path)
    }
    assert changed(name, switches) == different


def test_published_on_coco():
    voc, coco = changed("seam", "published"), changed("seam", "published,data=coco")
    assert coco["data.options"] == {"year": "2014", "mask_rule": "annotation_order"}
    assert {path for path in voc | coco if voc.get(path) != coco.get(path)} == {
        *VOC,
        *COCO,
        "segmentation.epochs",
    }
    steps = {10_582: voc["segmentation.epochs"], 82_783: coco["segmentation.epochs"]}
    assert [round(count * epochs / 10, -3) for count, epochs in steps.items()] == [2e4, 1.99e5]


@pytest.mark.parametrize("more", ["", "isl=0,fsl=0", "debug", "debug,seed=3", "seed=3,debug,isl=1"])
@pytest.mark.parametrize(("name", "switches"), RECIPES)
def test_every_recipe_has_the_switches(name, switches, more):
    plain, config = recipe(name, switches), recipe(name, f"{switches},{more}")
    scenes = name == "quickstart" or switches == "data=scenes"
    of_hub = config.model.weights.startswith("hf://timm/vit_")
    assert of_hub == bool({"clip", "dinov2"} & {*switches.split(",")})
    assert of_hub or config.model.weights == ("random" if scenes else "")
    config.model.weights = config.model.weights or "resnet50.safetensors"
    Settings.of(config)  # no recipe invents a field, or a value
    words = more.split(",")
    assert config.seed == (3 if "seed=3" in words else plain.seed)
    assert config.hfpl.isl_weight == (
        0.0 if "isl=0" in words else 1.0 if "isl=1" in words else plain.hfpl.isl_weight
    )
    assert config.hfpl.fsl_weight == (0.0 if "fsl=0" in words else plain.hfpl.fsl_weight)
    assert (config.train.epochs < plain.train.epochs) == ("debug" in words)


PRESETS = {"published": {"train.epochs": 8, "seed": 7}, "debug": {"train.epochs": 1}}


@pytest.mark.parametrize(
    ("switch", "hint"),
    [
        ("publisched", " (did you mean 'published'?)"),
        ("data=coc", " (did you mean 'data=coco'?)"),
        ("voc", " (did you mean 'data=voc'?)"),
        ("Folder", " (did you mean 'data=folder'?)"),
        ("data", " (did you mean 'data=voc'?)"),
        ("isl0", " (did you mean 'isl='?)"),
        ("debug=1", " (did you mean 'debug'?)"),
        ("bg=1", ""),
    ],
)
def test_an_unknown_switch(switch, hint):
    with pytest.raises(InputError) as told:
        apply_switches(default_config(), f"seed=1,{switch}", PRESETS, data="voc")
    assert str(told.value) == (
        f"Unknown switch {switch!r} behind the recipe{hint}. It has data=voc, data=coco, "
        "data=folder, data=scenes, published, debug, isl=NUMBER, fsl=NUMBER, seed=NUMBER."
    )


def test_the_first_run_is_plain_cam_on_scenes():
    assert changed("cam", "data=scenes") == changed("quickstart", "")


def test_a_recipe_with_its_own_dataset_has_no_switch_for_it():
    with pytest.raises(InputError) as told:
        load_recipe(f"{ROOT / 'configs' / 'quickstart.py'}:data=voc")
    assert str(told.value) == (
        "Unknown switch 'data=voc' behind the recipe. It has debug, isl=NUMBER, fsl=NUMBER, "
        "seed=NUMBER."
    )


@pytest.mark.parametrize("switches", ["data=voc,data=coco", "data=voc,debug,data=voc"])
def test_a_switch_that_is_there_twice(switches):
    with pytest.raises(
        InputError, match=r"The switch 'data' stands twice behind the recipe\. Give it once\."
    ):
        apply_switches(default_config(), switches, PRESETS, data="voc")


@pytest.mark.parametrize(
    ("switches", "expected"),
    [
        ("published,debug,seed=2", (1, 2)),
        ("seed=2,debug,published", (1, 2)),
        ("published", (8, 7)),
        ("debug", (1, 0)),
        ("debug,published,data=coco", (3, 7)),
        ("published,data=folder", (8, 9)),
        ("data=folder", (4, 9)),
    ],
)
def test_the_order_is_that_of_the_table_and_numbers_come_last(switches, expected):
    more = {"published,data=coco": {"train.epochs": 3}, "data=folder": {"seed": 9}}
    config = apply_switches(default_config(), switches, PRESETS | more, data="voc")
    assert (config.train.epochs, config.seed) == expected


@pytest.mark.parametrize(
    "name", ["cam", "drs", "frozen", "group", "mcof", "ppc", "prm", "puzzle", "seam", "sipe"]
)
def test_scenes_are_small_already(name):
    with pytest.raises(InputError, match=r"Leave it out beside data=scenes\."):
        recipe(name, "small,data=scenes")


@pytest.mark.parametrize("switch", ["isl=", "isl", "fsl=much", "seed=0.5"])
def test_a_switch_without_a_number(switch):
    with pytest.raises(InputError, match=rf"The switch '{switch}' needs a number, such as "):
        apply_switches(default_config(), switch, {})


@pytest.mark.parametrize("fields", [*DATASETS.values(), SMALL, DEBUG])
def test_what_a_switch_changes_are_fields(fields):
    known = {*leaves(default_config()), "data.options"}
    assert not set(fields) - known


@pytest.mark.parametrize(
    ("name", "switches"), [each for each in RECIPES if "published" not in each[1]]
)
def test_every_recipe_has_the_default_crf(name, switches):
    """Of CAMs, and with one iteration of the final network."""
    config = recipe(name, switches)
    for crf in (Crf.of(config.refine.crf), WalkCrf.of(config.refine.random_walk.crf)):
        assert crf.settings == CrfSettings()
    assert FinalCrf.of(config.segmentation.crf).settings == CrfSettings(iterations=1)


def test_the_published_recipe_has_the_published_crf():
    config = recipe("seam", "published")
    for crf in (Crf.of(config.refine.crf), WalkCrf.of(config.refine.random_walk.crf)):
        assert crf.settings == PUBLISHED_CRF
    final = FinalCrf.of(config.segmentation.crf).settings
    assert final == dataclasses.replace(PUBLISHED_CRF, iterations=1, bilateral_sxy=32.0)
