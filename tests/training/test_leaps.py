import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny import Trainer, batch

from hfpl_jax.runtime.sharding import put_batch
from hfpl_jax.training.leaps import (
    WINDOW,
    LossWatch,
    gradient_leaps,
    leap_notice,
    skipped_notice,
)
from hfpl_jax.training.optimizer import AdamW, split_frozen
from hfpl_jax.training.schedule import Cosine

# Of a quickstart that collapsed at step 174: the loss, a mean of ten steps each.
COLLAPSED = (
    0.66, 0.62, 0.59, 0.57, 0.55, 0.51, 0.49, 0.52, 0.45, 0.47, 0.43, 0.42, 0.44, 0.41, 0.44,
    0.40, 0.39, 1.13, 1.73, 0.83, 0.82, 0.71, 0.61, 0.63, 0.53, 0.55, 0.54, 0.54, 0.53, 0.53,
    0.51, 0.52, 0.52, 0.53, 0.51, 0.50, 0.52, 0.52, 0.51, 0.49,
)  # fmt: skip


def rows(losses):
    return [{"step": 10 * (index + 1), "loss": loss} for index, loss in enumerate(losses)]


def leap(losses):
    return LossWatch(rows(losses)).step


def test_a_loss_that_leapt_and_stays_high_is_found_as_soon_as_three_rows_show_it():
    found = [leap(COLLAPSED[:count]) for count in range(len(COLLAPSED) + 1)]
    assert found == [None] * 20 + [180] * 21


def test_a_training_that_starts_low_leaps_too():
    """As one does that starts from another run: there is nothing that it had fallen."""
    low = [0.20 + 0.01 * (i % 2) for i in range(15)]
    assert leap(low) is None
    assert leap([*low, *[0.9] * 6]) == 160


def test_a_loss_that_came_back_may_leap_again():
    recovered = (*COLLAPSED[:22], *(0.38 + 0.01 * (i % 3) for i in range(18)))
    assert leap(recovered) is None
    assert leap([*recovered, *[1.0] * 5]) == 410


def test_a_loss_may_leap_below_zero():
    """As a similarity loss alone does."""
    fallen = (-0.1 * np.linspace(0, 1, 50)).tolist()
    assert leap(fallen) is None
    assert leap([*fallen, *[-0.02] * 6]) == 510


@pytest.mark.parametrize("noise", [0.02, 0.05, 0.1, 0.2])
@pytest.mark.parametrize("count", [15, 200])
def test_a_loss_that_only_wavers_is_no_leap(noise, count):
    """Rows of few images, of a training that falls at once, slowly or not at all."""
    rng, at = np.random.default_rng(0), np.linspace(0, 1, count)
    shapes = (np.ones(count), 1 - 0.2 * at, 1 + 1.5 * np.exp(-1.2 * count * at), -at)
    found = [
        leap(0.2 * shape + 0.2 * noise * rng.normal(size=count))
        for shape in shapes
        for _ in range(20)
    ]
    assert found == [None] * len(found)


def test_the_notice_names_the_step_the_losses_and_the_cure():
    notice = leap_notice(LossWatch(rows(COLLAPSED)), "affinity")
    assert "step 180" in notice
    assert "was 0.41 before and is 0.51 now" in notice
    assert "config.affinity.learning_rate" in notice
    assert "smaller config.affinity.clip (0 shortens none)" in notice
    assert leap_notice(LossWatch(rows(COLLAPSED[:17])), "affinity") == ""


def test_skipped_steps_are_said_from_one_in_a_hundred_on():
    few = [{"step": 100, "loss": 1.0, "skipped_steps": 1.0}]
    assert skipped_notice(few, "train", 100) == ""
    assert "2 of the 100 steps of train" in skipped_notice(few * 2, "train", 100)


@pytest.mark.parametrize(
    ("known", "norm", "leaps"),
    [
        (WINDOW, 19.9, False),
        (WINDOW, 20.1, True),
        (WINDOW // 2, 20.1, True),
        (WINDOW // 2 - 1, 1e6, False),  # too few to know what is usual
        (0, 1e6, False),
    ],
)
def test_a_gradient_leaps_above_a_multiple_of_the_median(known, norm, leaps):
    norms = np.full(WINDOW, -1.0, np.float32)
    norms[:known] = 2.0
    norms[: known // 3] = 1e3  # some long ones do not move a median
    assert bool(jax.jit(gradient_leaps, static_argnums=2)(jnp.float32(norm), norms, 10.0)) == leaps


@pytest.fixture(scope="module")
def careful():
    """Batch normalisation by the batch's statistics, which a step updates."""
    return Trainer(8, skip_above=5.0, frozen_batch_norm=False)


def test_a_skipped_step_changes_nothing_but_the_step_and_its_norm(careful):
    """Exactly: parameters, momenta, batch statistics and the schedule's count; the
    metrics tell it.
    """
    state, first = careful.run(careful.new_state(), 0, 0)
    usual = np.full(WINDOW, 1e-3 * first[0]["gradient_norm"], np.float32)
    state = state.replace(norms=jax.device_put(usual, state.norms.sharding))
    before = jax.device_get(state)
    after, rows = careful.run(state, 1, 1)
    after = jax.device_get(after)
    assert rows[0]["skipped_steps"] == 1
    jax.tree.map(np.testing.assert_array_equal, after.params, before.params)
    jax.tree.map(np.testing.assert_array_equal, after.opt_state, before.opt_state)
    jax.tree.map(np.testing.assert_array_equal, after.batch_stats, before.batch_stats)
    assert after.step == before.step + 1
    assert after.norms[1] == rows[0]["gradient_norm"]
    np.testing.assert_array_equal(after.norms[2:], usual[2:])


def test_a_skipped_step_of_adam_leaves_its_moments_and_its_schedule():
    """The step after it has the learning rate and the bias correction of the second."""
    schedule, steps = Cosine(warm_up=0.4, start=0.2, end=0.1), 10
    one = Trainer(8, skip_above=5.0, steps=steps, optimizer=AdamW(), schedule=schedule)
    state, first = one.run(one.new_state(), 0, 0)
    usual = np.full(WINDOW, 1e-6, np.float32)
    state = state.replace(norms=jax.device_put(usual, state.norms.sharding))
    before = jax.device_get(state)
    state, skipped = one.run(state, 1, 1)
    after = jax.device_get(state)
    assert skipped[0]["skipped_steps"] == 1
    jax.tree.map(np.testing.assert_array_equal, after.params, before.params)
    jax.tree.map(np.testing.assert_array_equal, after.opt_state, before.opt_state)
    moments = [leaf for leaf in jax.tree.leaves(after.opt_state) if np.ndim(leaf)]
    assert len(moments) == 2 * len(split_frozen(after.params, ("layer1_norm/",))[0])
    assert all(np.any(moment) for moment in moments)
    long = np.full(WINDOW, 1e6, np.float32)
    state = state.replace(norms=jax.device_put(long, state.norms.sharding))
    _, third = one.run(state, 2, 2)
    rates = [rows[0]["learning_rate"] for rows in (first, skipped, third)]
    assert rates == pytest.approx([0.1 * 0.2, 0.1 * 0.4, 0.1 * 0.4], rel=1e-6)


def test_a_training_whose_gradients_are_long_for_good_goes_on(careful):
    state = careful.new_state()
    usual = np.full(WINDOW, 1e-4, np.float32)
    state = state.replace(norms=jax.device_put(usual, state.norms.sharding))
    skipped = []
    for step in range(WINDOW // 2 + 2):
        state, metrics = careful.step(state, put_batch(careful.mesh, batch(step)), careful.key)
        skipped.append(int(metrics["skipped_steps"]))
    assert skipped == [1] * (WINDOW // 2) + [0] * 2


def test_nothing_is_skipped_where_no_gradient_leaps(careful, scratch_trainer):
    """The same training to the last bit as without the rule."""
    with_rule, rows = careful.run(careful.new_state(), 0, 4)
    without, _ = scratch_trainer.run(scratch_trainer.new_state(), 0, 4)
    assert [row["skipped_steps"] for row in rows] == [0] * 5
    jax.tree.map(np.testing.assert_array_equal, with_rule.params, without.params)
    jax.tree.map(np.testing.assert_array_equal, with_rule.batch_stats, without.batch_stats)
