"""Co-training's weights and edges; `experiments.parity` holds a step of it against its
program's numbers.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from small_final import CLASSES, applied, batch_of, make, variables_of, without_labels

from hfpl_jax.masks import IGNORE
from hfpl_jax.training.objective import total_loss
from hfpl_jax.training.objectives.cotraining import CoTraining, cells_of, ramp
from hfpl_jax.training.objectives.final import LABELLED, UNLABELLED

NETWORK = CoTraining().network(make)


def test_a_weight_rises_between_two_shares_of_the_training():
    progress = jnp.asarray([0.0, 0.19, 0.2, 0.3, 0.35, 0.4, 1.0])
    expected = [0, 0, np.exp(-5), np.exp(-1.25), np.exp(-0.3125), 1, 1]
    np.testing.assert_allclose(ramp(progress, (0.2, 0.4)), expected, rtol=1e-5)
    np.testing.assert_allclose(ramp(progress, (0.3, 0.3)), [0, 0, 0, 1, 1, 1, 1])


def test_cells_in_the_padding_are_not_counted():
    valid = np.zeros((1, 9, 9), bool)
    valid[:, :5] = True
    rows = np.asarray(cells_of(jnp.asarray(valid), (3, 3)))[0, :, 0]
    assert rows.tolist() == [True, True, False]  # of pixels 0, 4 and 8


@functools.cache
def compiled():
    variables = variables_of(NETWORK)

    def predicted(params, batch):
        apply = applied(NETWORK, variables, params)
        prediction = CoTraining().predict(apply, batch, jax.random.key(0))
        return total_loss(prediction), prediction

    return variables["params"], jax.jit(jax.value_and_grad(predicted, has_aux=True))


def gradients(labelled, other, unlabelled, progress=1.0):
    beside = {LABELLED: other, UNLABELLED: without_labels(unlabelled)}
    params, made = compiled()
    return made(params, labelled._replace(beside=beside, progress=jnp.float32(progress)))


def test_both_networks_learn_and_start_apart():
    (_, prediction), slopes = gradients(*map(batch_of, range(3)))
    assert prediction.losses["agreement"] > 0
    assert prediction.losses["diversity"] > 0
    assert prediction.weights["agreement"] == 0.5
    norms = [
        sum(np.square(leaf).sum() for leaf in jax.tree.leaves(slopes[name]))
        for name in NETWORK.members
    ]
    assert min(norms) > 0
    (_, early), _ = gradients(*map(batch_of, range(3)), progress=0.1)
    assert early.weights["diversity"] == 0.0
    assert early.weights["agreement"] == pytest.approx(0.5 * np.exp(-5 * (1 - 0.1 / 0.42) ** 2))


@pytest.mark.parametrize("edge", ["no labelled pixel", "padding alone", "one class"])
def test_gradients_are_finite_at_the_edges(edge):
    batches = [batch_of(seed) for seed in range(3)]
    if edge == "no labelled pixel":
        batches = [each._replace(labels=jnp.full_like(each.labels, IGNORE)) for each in batches]
    if edge == "padding alone":
        nothing = jnp.zeros_like(batches[2].valid)
        batches[2] = batches[2]._replace(valid=nothing, images=0 * batches[2].images)
    if edge == "one class":
        batches = [each._replace(labels=jnp.full_like(each.labels, CLASSES)) for each in batches]
    (loss, prediction), slopes = gradients(*batches)
    assert np.isfinite(loss)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(slopes))
    if edge == "no labelled pixel":
        assert prediction.losses["supervised"] == 0.0
