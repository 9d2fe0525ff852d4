"""Who learns from which term, and the edges; `experiments.parity` holds the terms against
their program's numbers.
"""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from small_final import SIDE, applied, batch_of, make, variables_of, without_labels

from hfpl_jax.masks import IGNORE
from hfpl_jax.models.preprocess import IMAGENET_MEAN, IMAGENET_STD
from hfpl_jax.training.objectives.cycle import Cycle, as_colours, as_images
from hfpl_jax.training.objectives.final import UNLABELLED

OBJECTIVE = Cycle(width=2, blocks=1, history=12, crop_size=SIDE)
TEACHES = {
    "supervised": {"segmenter"},
    "image": {"generator"},
    "image_cycle": {"segmenter", "generator"},
    "mask_cycle": {"segmenter", "generator"},
    "image_adversarial": {"generator"},
    "mask_adversarial": {"segmenter"},
    "image_discriminator": {"image_discriminator"},
    "mask_discriminator": {"mask_discriminator"},
}


@functools.cache
def compiled(mode):
    """The objective's variables, and the gradients of every term, of "published" those of
    one alone.
    """
    objective = dataclasses.replace(OBJECTIVE, mode=mode)
    network = objective.network(make)
    variables = variables_of(network)

    def terms(params, batch):
        apply = applied(network, variables, params)
        prediction = objective.predict(apply, batch, jax.random.key(0))
        return prediction.losses, prediction

    def judged(params, batch):
        losses, prediction = terms(params, batch)
        return losses["mask_adversarial"], prediction

    of_all = jax.jacrev(terms, has_aux=True)
    made = jax.value_and_grad(judged, has_aux=True) if mode == "published" else of_all
    return variables["params"], objective.first_carried(variables["params"]), jax.jit(made)


def gradients(batch, unlabelled, mode="modern"):
    """Of every term, and the prediction."""
    params, carried, made = compiled(mode)
    beside = {UNLABELLED: without_labels(unlabelled)}
    return made(params, batch._replace(carried=carried, beside=beside))


def test_who_learns_from_which_term():
    slopes, prediction = gradients(batch_of(0), batch_of(1))
    learns = {
        term: {name for name, part in of_term.items() if any(map(np.any, jax.tree.leaves(part)))}
        for term, of_term in slopes.items()
    }
    assert learns == TEACHES
    assert prediction.kept["mask"].kept["made"].shape[-1] == 3
    assert prediction.kept["image"].filled == 8


def test_published_masks_teach_nobody():
    (loss, prediction), slopes = gradients(batch_of(0), batch_of(1), "published")
    assert loss > 0
    assert not any(map(np.any, jax.tree.leaves(slopes)))
    seen = np.asarray(prediction.kept["mask"].kept["made"])
    assert seen.shape[-1] == 1
    assert set(np.unique(seen)) == {0.0, 1.0, 2.0}  # numbers of classes


def test_ignored_labels_are_no_class_and_padding_is_not_counted():
    """What padding holds, and what the labels there would be, is no matter."""
    batch, unlabelled = batch_of(0), batch_of(1)
    assert IGNORE in np.asarray(batch.labels)[np.asarray(batch.valid)]
    _, prediction = gradients(batch, unlabelled)
    made = np.asarray(prediction.kept["image"].kept["made"][:8])
    assert not made[~np.asarray(batch.valid)].any()


@pytest.mark.parametrize("edge", ["no labelled pixel", "padding alone", "one class"])
def test_gradients_are_finite_at_the_edges(edge):
    batch, unlabelled = batch_of(0), batch_of(1)
    if edge == "no labelled pixel":
        batch = batch._replace(labels=jnp.full_like(batch.labels, IGNORE))
    if edge == "padding alone":
        unlabelled = unlabelled._replace(
            valid=jnp.zeros_like(unlabelled.valid), images=0 * unlabelled.images
        )
    if edge == "one class":
        batch = batch._replace(labels=jnp.zeros_like(batch.labels))
    slopes, prediction = gradients(batch, unlabelled)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(slopes))
    if edge == "no labelled pixel":
        assert prediction.losses["supervised"] == prediction.losses["image"] == 0.0


def test_colours_go_from_black_to_white_and_back():
    colours = np.array([0.0, 0.25, 1.0], np.float32)[:, None] * np.ones(3, np.float32)
    images, valid = (
        ((colours - IMAGENET_MEAN) / IMAGENET_STD)[None, None],
        jnp.ones((1, 1, 3), bool),
    )
    found = as_colours(jnp.asarray(images), valid)
    np.testing.assert_allclose(found[0, 0, :, 1], [-1.0, -0.5, 1.0], atol=1e-6)
    np.testing.assert_allclose(as_images(found, valid), images, atol=1e-5)


def test_the_other_networks_have_adam_that_rests_at_the_end():
    optimizer = OBJECTIVE.optimizer(optax.identity(), 400)
    params = {
        f"{name}/kernel": jnp.zeros(2)
        for name in ("segmenter", "generator", "image_discriminator", "mask_discriminator")
    }
    slopes = {path: jnp.asarray([3.0, -5.0]) for path in params}
    state = optimizer.init(params)
    first, state = optimizer.update(slopes, state, params)
    np.testing.assert_allclose(first["generator/kernel"], [-2e-4, 2e-4], rtol=1e-5)
    np.testing.assert_allclose(first["segmenter/kernel"], [3.0, -5.0])
    for _ in range(249):
        last, state = optimizer.update(slopes, state, params)
    np.testing.assert_allclose(
        last["mask_discriminator/kernel"], [-2e-4 * 151 / 300, 2e-4 * 151 / 300], rtol=1e-4
    )
