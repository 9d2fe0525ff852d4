import re
from typing import NamedTuple

import jax
import jax.export
import jax.numpy as jnp
import numpy as np
import pytest
from end_to_end import ROOT, recipe
from staged_backbone import Stages

from experiments.parity.group import HEAD, NAMES
from hfpl_jax.build import build_network, build_objective, frozen_patterns, variable_shapes
from hfpl_jax.data.dataset import Example
from hfpl_jax.errors import InputError
from hfpl_jax.losses import gap_loss, sampled_loss
from hfpl_jax.methods.group import Group
from hfpl_jax.methods.hfpl import Hfpl
from hfpl_jax.models.pretrained import head_names
from hfpl_jax.settings.checks import check
from hfpl_jax.training.objective import Batch, total_loss
from hfpl_jax.training.optimizer import flatten, split_frozen

CLASSES = 4


def random(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


class Output(NamedTuple):
    logits: jax.Array
    before: jax.Array


AFTER, BEFORE = random(6, 4, 5, CLASSES), random(6, 4, 5, CLASSES, seed=1)
LABELS = (np.random.default_rng(2).random((6, CLASSES)) < 0.5).astype(np.float32)


def apply(images, *, train, members):
    assert (train, members) == (True, 3)
    return Output(jnp.asarray(AFTER), jnp.asarray(BEFORE))


@pytest.fixture(scope="module")
def batch():
    return Batch(jnp.asarray(random(6, 32, 40, 3)), jnp.asarray(LABELS), None, jnp.zeros(()))


def test_two_terms_and_their_weights(batch):
    """(0.4 before + after) / 2, each the mean over photographs."""
    prediction = Group().predict(apply, batch, jax.random.key(0))
    assert prediction.losses == {
        "classification": gap_loss(AFTER, LABELS),
        "classification_before": gap_loss(BEFORE, LABELS),
    }
    expected = 0.5 * gap_loss(AFTER, LABELS) + 0.2 * gap_loss(BEFORE, LABELS)
    assert float(total_loss(prediction)) == pytest.approx(float(expected), rel=1e-6)
    np.testing.assert_array_equal(prediction.logits, AFTER)


def test_the_sampled_loss_takes_its_share_of_the_term_after_the_graph(batch):
    pixels = jnp.zeros((6, CLASSES, 10), jnp.int32)
    worn = Hfpl(Group(), 0.2, 0.0, sample=lambda key, logits, *, num_samples: pixels)
    prediction = worn.predict(apply, batch, jax.random.key(0))
    mixed = 0.8 * gap_loss(AFTER, LABELS) + 0.2 * sampled_loss(AFTER, LABELS, pixels)
    expected = 0.5 * mixed + 0.2 * gap_loss(BEFORE, LABELS)
    assert float(total_loss(prediction)) == pytest.approx(float(expected), rel=1e-6)


@pytest.fixture(scope="module", params=[2, 3])
def trained(request):
    """A method of groups of so many, its network and variables of notable size."""
    method = Group(size=request.param)
    network = method.network(Stages(), CLASSES, frozen_batch_norm=True, dropout=0.0)
    made = jax.jit(network.init)(jax.random.key(0), jnp.zeros((1, 32, 32, 3)))
    graph = jax.tree.map(lambda leaf: 30 * leaf, made["params"]["graph"])
    update = graph["gru"]["update"]
    update["bias"] = jnp.zeros_like(update["bias"])  # half open: others are heard
    return method, network, {"params": made["params"] | {"graph": graph}}


def maps_of(trained, images, sizes, mirrored=None):
    method, network, variables = trained

    @jax.jit
    def made(images, sizes, mirrored):
        def apply(*given, **options):
            return network.apply(variables, *given, **options)

        return method.maps(apply, images, sizes, mirrored)

    return made(images, np.asarray(sizes), mirrored)


def test_maps_do_not_depend_on_padding_and_neighbours(trained):
    images = random(2, 64, 96, 3)
    size = (45, 70)
    mirrored = images[:, :, ::-1].copy()
    mirrored[1, : size[0], : size[1]] = images[1, : size[0], : size[1]][:, ::-1]
    padded = maps_of(trained, images, [(64, 96), size], mirrored)
    own = np.s_[1:, : size[0], : size[1]]
    alone = maps_of(trained, images[own], [size], mirrored[own])
    for ours, expected in zip(padded, alone, strict=True):
        assert expected.shape == (1, 3, 5, CLASSES)
        np.testing.assert_allclose(ours[1:, :3, :5], expected, rtol=1e-3, atol=1e-4)
    assert (padded.cams >= 0.0).all()
    assert padded.cams.std() > 1e-3


@pytest.mark.parametrize("trained", [2], indirect=True)
def test_of_a_mirrored_photograph_they_are_mirrored(trained):
    images = random(1, 64, 96, 3)
    mirrored = images[:, :, ::-1]
    found = maps_of(trained, images, [(64, 96)], mirrored)
    turned = maps_of(trained, mirrored, [(64, 96)], images)
    np.testing.assert_allclose(turned.cams[:, :, ::-1], found.cams, rtol=1e-3, atol=1e-4)


def test_a_photograph_hears_of_a_smaller_one(trained):
    """Where nothing is mirrored; of its own maps and that alone."""
    _, network, variables = trained
    images, sizes = random(1, 64, 96, 3), np.array([(64, 96)])
    found = maps_of(trained, images, sizes)
    before = network.apply(variables, images, sizes, method="seen").maps
    lone = network.apply(variables, images, sizes).logits
    assert found.cams.shape == before.shape
    twice = 2 * np.asarray(found.cams) - np.asarray(before)
    shown = np.asarray(found.cams) > 0
    np.testing.assert_allclose(twice[shown], np.asarray(found.logits)[shown], atol=1e-4)
    assert np.abs(found.logits - lone).max() > 1e-3


@pytest.mark.parametrize("trained", [3], indirect=True)
def test_they_can_be_exported_for_any_number_of_photographs(trained):
    method, network, variables = trained
    (count,) = jax.export.symbolic_shape("b")

    def maps(images):
        sizes = jnp.broadcast_to(jnp.asarray((32, 48), jnp.int32), (images.shape[0], 2))

        def apply(*given, **options):
            return network.apply(variables, *given, **options)

        return method.maps(apply, images, sizes, images[:, :, ::-1]).cams

    shape = jax.ShapeDtypeStruct((count, 32, 48, 3), jnp.float32)
    program = jax.export.export(jax.jit(maps))(shape)
    images = random(3, 32, 48, 3)
    expected = maps_of(trained, images, [(32, 48)] * 3, images[:, :, ::-1]).cams
    np.testing.assert_allclose(program.call(images), expected, atol=1e-5)


class Half(Stages):
    """Its features are bfloat16."""

    def __call__(self, images, *given, **options):
        features = super().__call__(images, *given, **options)
        return {name: feature.astype(jnp.bfloat16) for name, feature in features.items()}


def test_a_training_step_in_bfloat16_is_finite():
    objective = build_objective(recipe("group", "data=scenes"))
    network = Group().network(Half(), CLASSES, frozen_batch_norm=True, dropout=0.5)
    variables = jax.jit(network.init)(jax.random.key(0), jnp.zeros((1, 32, 32, 3)))
    images, valid = jnp.asarray(random(6, 32, 32, 3)), jnp.ones((6, 32, 32), bool)

    @jax.jit
    @jax.value_and_grad
    def loss(params):
        def apply(images, **options):
            key = {"dropout": jax.random.key(1)}
            return network.apply({"params": params}, images, **options, rngs=key)

        batch = Batch(images, jnp.asarray(LABELS), valid, jnp.zeros(()))
        return total_loss(objective.predict(apply, batch, jax.random.key(0)))

    value, slopes = loss(variables["params"])
    assert np.isfinite(value)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(slopes))


@pytest.mark.parametrize(("share", "partners"), [("class", {1, 2}), ("labels", {2})])
def test_each_photograph_leads_a_group_of_those_it_may_have(share, partners, caplog):
    caplog.set_level("INFO")
    labels = ((0, 1), (0,), (0, 1), (3,))
    split = [Example(f"{at}.png", b"", np.array(own), None, 1, 1) for at, own in enumerate(labels)]
    groups = Group(share=share).elements(split)
    assert len(groups) == 4
    drawn = [groups[0].draw(np.random.default_rng(seed)) for seed in range(20)]
    assert {members[0].file_name for members in drawn} == {"0.png"}
    found = {each.file_name for members in drawn for each in members[1:]}
    assert found == {f"{at}.png" for at in partners}
    assert "1 photographs share no class with another" in caplog.text


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        (
            {"train.batch_size": 16},
            r"config\.train\.batch_size = 16 does not divide into 8 devices of whole groups of 3 "
            r"images\. Set it to a multiple of 24, such as 24\.",
        ),
        (
            {"method.group.size": 4},
            r"batch_size = 24 .* groups of 4 images\. Set it to a multiple of 32, such as 32",
        ),
        ({"method.group.size": 1}, r"config\.method\.group\.size = 1 must be at least 2"),
        (
            {"method.group.share": "clas"},
            r"must be one of class, labels \(did you mean 'class'\?\)",
        ),
        (
            {"method.group.neighbours": "near"},
            r"group\.neighbours = 'near' must be one of random, sba",
        ),
        (
            {"method.group.neighbours": "sba", "model.weights": "", "train.init_from": "a/train"},
            r"found with it \(config\.method\.group\.neighbours\)\. Set it to a file of ImageNet",
        ),
    ],
)
def test_a_slip_is_a_sentence(fields, sentence):
    config = recipe("group", "data=scenes")
    config.update_from_flattened_dict(fields)
    with pytest.raises(InputError, match=sentence):
        check(config, {"train"})


def test_groups_of_parameters_as_published():
    """Those of the recorded program, by its names."""
    config = recipe("group", "published")
    config.model.weights = "vgg16.safetensors"
    network = build_network(config, 20)
    params = variable_shapes(network)["params"]
    trained, _ = split_frozen(params, frozen_patterns(config, "train", network))
    assert trained.keys() == flatten(params).keys()  # nothing is frozen
    heads = {ours: theirs for theirs, ours in HEAD.items()}
    found = {}
    for path in trained:
        factor = next((f for pattern, f in config.train.multipliers if re.search(pattern, path)), 1)
        part, _, inner = path.partition("/")
        if part == "graph":
            module, _, leaf = inner.rpartition("/")
            name = f"{NAMES[module]}.{'weight' if leaf == 'kernel' else leaf}"
        elif part == "head":
            layer, leaf = head_names(network.backbone).key(path).rsplit(".", 1)
            name = f"{heads[layer]}.{leaf}"
        else:
            name = network.backbone.weight_names[0].key(inner)
        found[name] = factor
    with np.load(ROOT / "tests" / "goldens" / "gwsss.npz") as golden:
        lines = [line.split() for line in golden["lr_group_names"]]
    published = {name: (1.0, 2.0, 10.0, 20.0)[int(group)] for name, group in lines}
    for never_read in ("extra_linear_e.weight", "extra_projb.bias"):
        del published[never_read]
    of_backbone = {name for name in found if name.startswith("features.")}
    assert {found[name] for name in of_backbone if name.endswith("weight")} == {1.0}
    assert {found[name] for name in of_backbone if name.endswith("bias")} == {2.0}
    assert {name: f for name, f in found.items() if name in published} == published
    assert found.keys() - published.keys() == of_backbone - published.keys()


def test_the_recipe_as_published():
    config = recipe("group", "published,isl=0,fsl=0")
    assert build_objective(config) == Group(share="labels")
    train = config.train
    assert (train.epochs, train.batch_size, train.crop_size) == (15, 3, 256)
    assert (train.learning_rate, train.sgd.momentum, train.sgd.nesterov) == (0.001, 0.9, True)
    assert [round(15 * share) for share in train.step.shares] == [5, 10]
    assert isinstance(build_objective(recipe("group", "")), Hfpl)
