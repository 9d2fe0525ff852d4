import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny import Trainer, batch, mesh_of

from hfpl_jax.runtime.sharding import put_batch, replicated
from hfpl_jax.training.objective import Objective, Prediction
from hfpl_jax.training.optimizer import Sgd, flatten, make_optimizer
from hfpl_jax.training.schedule import Poly
from hfpl_jax.training.step import make_train_step, new_state


def _allclose(one, many, tolerance=1e-5):
    for (path, expected), found in zip(
        jax.tree_util.tree_leaves_with_path(one), jax.tree.leaves(many), strict=True
    ):
        np.testing.assert_allclose(
            found, expected, rtol=tolerance, atol=tolerance, err_msg=jax.tree_util.keystr(path)
        )


@pytest.mark.parametrize("frozen_batch_norm", [True, False])
def test_eight_devices_compute_the_step_of_one(
    trainer, lone_trainer, scratch_trainer, frozen_batch_norm
):
    """Losses, sampled pixels among them, parameters, momenta and statistics."""
    trainers = (
        (lone_trainer, trainer)
        if frozen_batch_norm
        else (Trainer(1, frozen_batch_norm=False), scratch_trainer)
    )
    results = []
    for one, devices in zip(trainers, (1, 8), strict=True):
        state, rows = one.run(one.new_state(), 0, 2)
        assert len(state.params["head"]["kernel"].sharding.device_set) == devices
        results.append((jax.device_get(state), rows))
    (one, one_rows), (many, many_rows) = results
    assert one_rows[0]["classification"] != one_rows[1]["classification"]
    _allclose(one_rows, many_rows)
    _allclose(one, many)


@pytest.mark.slow
def test_eight_devices_compute_the_resnet_step_of_one():
    from hfpl_jax.models.backbones.resnet import ResNet
    from hfpl_jax.models.cam_network import CamNetwork

    results = []
    for devices in (1, 8):
        trainer = Trainer(
            devices,
            net=CamNetwork(ResNet(18, 8), 4),
            freeze=("^backbone/stem/", "/scale$"),
            learning_rate=0.01,
        )
        state, rows = trainer.run(trainer.new_state(), 0, 0)
        results.append((jax.device_get(state.params), rows))
    _allclose(results[0], results[1])


def test_frozen_parameters_and_statistics_stay_and_the_others_move(trainer):
    state = trainer.new_state()
    before = jax.device_get(state)
    after = jax.device_get(trainer.run(state, 0, 0)[0])
    for path, value in flatten(after.params).items():
        same = np.array_equal(value, flatten(before.params)[path])
        assert same == ("layer1_norm/" in path), path
    jax.tree.map(np.testing.assert_array_equal, after.batch_stats, before.batch_stats)


def test_batch_statistics_are_updated_in_training_from_scratch(scratch_trainer):
    state = scratch_trainer.new_state()
    before = jax.device_get(state.batch_stats)
    after = jax.device_get(scratch_trainer.run(state, 0, 0)[0].batch_stats)
    jax.tree.map(
        lambda old, new: np.testing.assert_array_less(0, np.abs(new - old).max()), before, after
    )
    assert after["backbone"]["layer1_norm"]["mean"].shape == (8,)


def test_state_is_donated_and_the_step_compiled_once(trainer):
    state = first = trainer.new_state()
    state, _ = trainer.run(state, 0, 3)
    assert all(leaf.is_deleted() for leaf in jax.tree.leaves(first))
    assert int(state.step) == 4
    assert trainer.step._cache_size() == 1


def test_key_and_step_decide_the_sampled_pixels(trainer):
    """The same state, batch and key give the same step; another step number draws other
    pixels.
    """
    rows = []
    for number in (0, 0, 5):
        state = trainer.new_state()
        state = state.replace(step=jax.device_put(np.int32(number), state.step.sharding))
        rows.append(trainer.run(state, 0, 0)[1][0])
    assert rows[0]["classification"] == rows[1]["classification"]
    assert rows[0]["classification"] != rows[2]["classification"]
    assert rows[0]["feature_similarity"] == rows[2]["feature_similarity"]


class Dropped(nn.Module):
    """Which of a thousand channels dropout leaves, [b, 1000], and a number that
    training may move."""

    @nn.compact
    def __call__(self, images, train):
        weight = self.param("weight", nn.initializers.ones, ())
        return weight * nn.Dropout(0.5, deterministic=not train)(jnp.ones((images.shape[0], 1000)))


class Twice(Objective):
    """A method that calls its network twice, as one with two views does; the terms tell
    the two calls' masks.
    """

    def predict(self, apply, batch, key):
        first, second = (apply(batch.images, train=True) for _ in range(2))
        places = jnp.arange(1000.0)
        losses = {"first": jnp.mean(first * places), "both": jnp.mean(first * second)}
        return Prediction(first, losses, {"first": 1.0, "both": 1.0})


def test_every_call_of_a_step_has_its_own_dropout():
    mesh, schedule = mesh_of(1), Poly().of_steps(0.0, 10)
    optimizer = make_optimizer(Sgd(), schedule, weight_decay=0.0, multipliers=())
    step = make_train_step(Dropped(), Twice(), optimizer, schedule, steps=10, freeze=(), mesh=mesh)
    rows = []
    for number in (0, 0, 1):
        state = new_state({"params": {"weight": jnp.ones(())}}, optimizer, (), Twice()).replace(
            step=jnp.asarray(number, jnp.int32)
        )
        state = jax.device_put(state, replicated(mesh))
        rows.append(
            step(
                state,
                put_batch(mesh, batch(0)),
                jax.device_put(jax.random.key(3), replicated(mesh)),
            )[1]
        )
    # Kept values are doubled: the mean product is 2 for equal masks and 1 for
    # independent ones.
    assert float(rows[0]["both"]) == pytest.approx(1.0, abs=0.1)
    assert float(rows[0]["first"]) == float(rows[1]["first"]) != float(rows[2]["first"])


def test_the_step_makes_no_hidden_transfers(trainer):
    state = trainer.new_state()
    with jax.transfer_guard("disallow"):
        state, _ = trainer.step(state, put_batch(trainer.mesh, batch(0)), trainer.key)
        with pytest.raises(Exception, match=r"[Dd]isallowed"):
            jnp.sin(np.ones(3))  # what such a transfer looks like


def test_total_is_the_weighted_sum_of_its_terms(trainer):
    row = trainer.run(trainer.new_state(), 0, 0)[1][0]
    assert row["loss"] == pytest.approx(
        row["classification"] + 0.5 * row["feature_similarity"], rel=1e-5
    )
    assert row["learning_rate"] == pytest.approx(0.1)


class Counted(nn.Module):
    """A number that training may move, and how often the network was called."""

    @nn.compact
    def __call__(self, images):
        calls = self.variable("batch_stats", "calls", lambda: jnp.zeros(()))
        if not self.is_initializing():
            calls.value += 1.0
        return self.param("weight", nn.initializers.ones, ()) * jnp.ones(len(images))


class Thrice(Objective):
    """A network as it is, as a constant, and on what is no photograph."""

    def predict(self, apply, batch, key):
        ways = {"plain": {}, "constant": {"detached": True}, "made": {"statistics": False}}
        losses = {name: apply(batch.images, **way).mean() for name, way in ways.items()}
        return Prediction(jnp.zeros(()), losses, {"plain": 1.0, "constant": 10.0, "made": 100.0})


def test_who_learns_from_a_call_and_whose_statistics_move():
    mesh, images = mesh_of(1), np.zeros((2, 4, 4, 3), np.uint8)
    optimizer = make_optimizer(Sgd(), lambda _: 0.01, weight_decay=0.0, multipliers=())
    step = make_train_step(
        Counted(), Thrice(), optimizer, lambda _: 0.01, steps=1, freeze=(), mesh=mesh
    )
    variables = Counted().init(jax.random.key(0), jnp.zeros((1, 4, 4, 3)))
    state = new_state(variables, optimizer, (), Thrice())
    arrays = put_batch(mesh, {"image": images, "valid": np.ones((2, 4, 4), bool)})
    state, metrics = step(*jax.device_put((state,), replicated(mesh)), arrays, jax.random.key(0))
    assert metrics["loss"] == 111.0
    np.testing.assert_allclose(state.params["weight"], 1.0 - 0.01 * 101.0, rtol=1e-5)
    assert state.batch_stats["calls"] == 1.0
