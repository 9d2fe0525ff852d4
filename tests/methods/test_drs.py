import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from end_to_end import ROOT, recipe

from hfpl_jax.build import build_network, build_objective, frozen_patterns, variable_shapes
from hfpl_jax.errors import InputError
from hfpl_jax.losses import gap_loss
from hfpl_jax.methods.drs import Drs, normalized_cams
from hfpl_jax.models.cam_network import CamOutput
from hfpl_jax.models.pretrained import head_names
from hfpl_jax.settings.whole import Settings
from hfpl_jax.training.objective import Batch
from hfpl_jax.training.optimizer import flatten, split_frozen


def random(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def test_the_classification_alone_is_learnt_and_wears_the_losses():
    logits, labels = random(2, 4, 5, 3), jnp.asarray([[1, 0, 1], [0, 1, 0]])
    batch = Batch(jnp.asarray(random(2, 32, 40, 3, seed=1)), labels, None, None)
    apply = lambda images, *, train: CamOutput(jnp.asarray(logits), {})  # noqa: E731
    alone = Drs().predict(apply, batch, jax.random.key(0))
    assert alone.losses == {"classification": gap_loss(logits, labels)}
    both = build_objective(recipe("drs", "")).predict(apply, batch, jax.random.key(0))
    assert set(both.losses) == {"classification", "feature_similarity"}
    np.testing.assert_array_equal(both.logits, logits)


def test_the_largest_of_the_scales():
    maps = [np.maximum(random(4, 5, 3), 0), np.maximum(random(6, 8, 3, seed=1), 0)]
    classes, size = np.array([0, 2]), (33, 41)
    found = Drs().merge(maps, classes, [(32, 40), (48, 64)], size, 8)
    first, second = (normalized_cams(each[..., classes], size) for each in maps)
    np.testing.assert_array_equal(found, np.maximum(first, second))
    assert found.shape == (*size, 2)
    assert 0.999 < found.max() <= 1.0
    assert found.min() >= 0.0


def test_a_class_without_evidence_scores_nothing():
    maps = [np.zeros((4, 5, 2), np.float32)]
    assert not Drs().merge(maps, np.array([1]), [(32, 40)], (32, 40), 8).any()
    assert Drs().merge(maps, np.array([], np.int64), [(32, 40)], (32, 40), 8).shape == (32, 40, 0)


def rates(switches, **model):
    config = recipe("drs", switches)
    config.model.weights = "vgg16.safetensors"
    config.model.update(model)
    network = build_network(config, 20)
    params = variable_shapes(network)["params"]
    trained, _ = split_frozen(params, frozen_patterns(config, "train", network))
    multipliers = config.train.multipliers
    found = {
        path: next((factor for pattern, factor in multipliers if re.search(pattern, path)), 1.0)
        for path in trained
    }
    return network, flatten(params), found


def test_groups_of_parameters_as_published():
    """Those of the recorded program, by its names."""
    network, params, found = rates("published")
    assert found.keys() == params.keys()  # nothing is frozen
    tables = network.backbone.weight_names[0], head_names(network.backbone)
    ours = {
        tables[not path.startswith("backbone/")].key(path.removeprefix("backbone/")): factor
        for path, factor in found.items()
    }
    with np.load(ROOT / "tests" / "goldens" / "drs.npz") as golden:
        names = [line.split()[0] for line in golden["net_learn_names"]]
        factors = [(1.0, 2.0, 10.0, 20.0)[group] for group in golden["net_learn_lr_group"]]
    assert ours == dict(zip(names, factors, strict=True))


def test_a_suppression_is_learnt_in_frozen_stages_too():
    """No weight file has it."""
    _, params, found = rates("", weights="resnet50.safetensors")
    suppressed = {path for path in params if "/suppression" in path}
    assert {path.split("/")[1] for path in suppressed if path.startswith("backbone/")} == {
        "layer1",
        "layer2",
        "layer3",
        "layer4",
    }
    assert suppressed <= found.keys()
    assert {found[path] for path in suppressed} == {10.0}
    assert not any(path.startswith("backbone/layer1/") for path in found.keys() - suppressed)


@pytest.mark.parametrize("text", ["learned", "0", "1.5", "-0.5", "nan", "0.50", " 0.5"])
def test_a_suppression_that_is_none_is_told(text):
    config = recipe("drs", "data=scenes")
    config.model.suppression = text
    with pytest.raises(InputError) as told:
        Settings.of(config)
    assert str(told.value) == (
        f'config.model.suppression = {text!r} must be "", "learnable" or a number above 0 and '
        'at most 1, such as "0.55".'
    )


@pytest.mark.parametrize("name", ["cam", "seam", "puzzle", "ppc", "sipe"])
def test_every_method_may_have_a_suppression(name):
    config = recipe(name, "data=scenes")
    config.model.suppression = "0.55"
    Settings.of(config)
    assert build_network(config, 3).backbone.suppression == "0.55"


def test_a_method_that_knows_its_background_is_told_that_its_maps_are_not_learnt():
    config = recipe("sipe", "data=scenes")
    config.refine.name = "refinement_learning"
    told = r"'refinement_learning' makes maps anew, .* but SIPE knows its background itself\."
    with pytest.raises(InputError, match=told):
        Settings.of(config)
