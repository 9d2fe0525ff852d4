import dataclasses
import importlib.util
import pathlib

import pytest

from hfpl_jax.defaults import apply_switches, default_config
from hfpl_jax.errors import InputError
from hfpl_jax.refine import PUBLISHED_CRF, CrfSettings
from hfpl_jax.refine.crf import Crf
from hfpl_jax.refine.walk import WalkCrf
from hfpl_jax.settings import Settings
from hfpl_jax.settings.training import FinalCrf

CONFIGS = sorted((pathlib.Path(__file__).parents[1] / "configs").glob("*.py"))


def recipe(path):
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    "switches", [None, "", "isl=0,fsl=0", "debug", "debug,seed=3", "seed=3,debug,isl=1"]
)
@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_every_recipe_has_the_switches(path, switches):
    plain, config = recipe(path).get_config(), recipe(path).get_config(switches)
    assert config.model.weights == ("random" if path.stem == "quickstart" else "")
    config.model.weights = config.model.weights or "resnet50.safetensors"
    Settings.of(config)  # no recipe invents a field, or a value
    words = (switches or "").split(",")
    assert config.seed == (3 if "seed=3" in words else plain.seed)
    assert config.hfpl.isl_weight == (
        0.0 if "isl=0" in words else 1.0 if "isl=1" in words else plain.hfpl.isl_weight
    )
    assert config.hfpl.fsl_weight == (0.0 if "fsl=0" in words else plain.hfpl.fsl_weight)
    assert (config.train.epochs < plain.train.epochs) == ("debug" in words)


@pytest.mark.parametrize("switch", ["isl0", "bg=1", "debug=1", "ISL=0"])
def test_unknown_switch(switch):
    with pytest.raises(
        InputError, match=rf"Unknown switch '{switch}' after the config file\. Known are isl=WEIGHT"
    ):
        apply_switches(default_config(), switch, debug={})


def test_a_preset_comes_before_the_other_switches_and_is_named():
    presets = {"published": {"train.epochs": 8, "seed": 7}}
    for switches in ("published,debug,seed=2", "seed=2,debug,published"):
        config = apply_switches(default_config(), switches, {"train.epochs": 1}, presets)
        assert (config.train.epochs, config.seed) == (1, 2)
    assert apply_switches(default_config(), "published", {}, presets).seed == 7
    with pytest.raises(InputError, match=r"'publisched'.* seed=NUMBER, published and debug\."):
        apply_switches(default_config(), "publisched", {}, presets)


@pytest.mark.parametrize("switch", ["isl=", "isl", "fsl=much", "seed=0.5"])
def test_a_switch_without_a_number(switch):
    with pytest.raises(InputError, match=rf"The switch '{switch}' needs a number, such as "):
        apply_switches(default_config(), switch, debug={})


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_every_recipe_has_the_default_crf(path):
    """Of CAMs, and with one iteration of the final network."""
    config = recipe(path).get_config()
    for crf in (Crf.of(config.refine.crf), WalkCrf.of(config.refine.random_walk.crf)):
        assert crf.settings == CrfSettings()
    assert FinalCrf.of(config.segmentation.crf).settings == CrfSettings(iterations=1)


def test_the_published_recipe_has_the_published_crf():
    config = recipe(CONFIGS[0].with_name("seam.py")).get_config("published")
    for crf in (Crf.of(config.refine.crf), WalkCrf.of(config.refine.random_walk.crf)):
        assert crf.settings == PUBLISHED_CRF
    final = FinalCrf.of(config.segmentation.crf).settings
    assert final == dataclasses.replace(PUBLISHED_CRF, iterations=1, bilateral_sxy=32.0)
