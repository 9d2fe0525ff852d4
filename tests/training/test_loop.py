import itertools
import os
import signal

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny import Trainer, batches

from hfpl_jax.runtime import termination
from hfpl_jax.runtime.sharding import replicated
from hfpl_jax.training.checkpoint import open_manager, restore_latest
from hfpl_jax.training.loop import TrainingDiverged, train
from hfpl_jax.training.metric_log import read_rows

STEPS = 10  # as the trainer's schedule has


def _train(trainer, directory, *, batches=batches, step=None, every_steps=3, log_every=4, keep=2):
    with open_manager(directory / "checkpoints", every_steps=every_steps, keep=keep) as manager:
        state = trainer.new_state()
        restored = restore_latest(manager, state, replicated(trainer.mesh))
        return train(
            state if restored is None else restored,
            step or trainer.step,
            batches,
            manager,
            directory=directory,
            mesh=trainer.mesh,
            key=trainer.key,
            steps=STEPS,
            batch_size=8,
            log_every=log_every,
            section="affinity",
        )


def _saved(directory):
    """Steps that have a checkpoint."""
    with open_manager(directory / "checkpoints", every_steps=3, keep=2) as manager:
        return sorted(manager.all_steps())


@pytest.fixture(scope="module")
def undisturbed(trainer, tmp_path_factory):
    directory = tmp_path_factory.mktemp("undisturbed")
    state = _train(trainer, directory)
    return directory, jax.device_get(state)


def test_state_is_that_of_the_bare_steps(trainer, undisturbed):
    state, _ = trainer.run(trainer.new_state(), 0, STEPS - 1)
    jax.tree.map(np.testing.assert_array_equal, jax.device_get(state), undisturbed[1])
    assert trainer.step._cache_size() == 1  # one compilation for fresh, trained and restored states


def test_rows_and_checkpoints(trainer, undisturbed):
    directory, _ = undisturbed
    _, metrics = trainer.run(trainer.new_state(), 0, STEPS - 1)
    losses = [float(row["loss"]) for row in metrics]
    rows = read_rows(directory)
    assert [row["step"] for row in rows] == [3, 4, 6, 8, 9, 10]  # with every checkpoint, too
    ends = itertools.pairwise((0, 3, 4, 6, 8, 9, 10))
    assert [row["loss"] for row in rows] == pytest.approx(
        [np.mean(losses[begin:end]) for begin, end in ends]
    )
    assert set(rows[0]) == {
        "step",
        "loss",
        "classification",
        "feature_similarity",
        "gradient_norm",
        "learning_rate",
        "skipped_steps",
    }
    assert _saved(directory) == [9, 10]


@pytest.mark.parametrize("killed_at", [2, 8])
def test_resuming_gives_the_undisturbed_run(trainer, undisturbed, tmp_path, killed_at):
    """Bit by bit: parameters, momenta, and the rows of the log."""

    def killed(start):
        for number, one in enumerate(batches(start), start):
            if number == killed_at:
                raise KeyboardInterrupt
            yield one

    with pytest.raises(KeyboardInterrupt):
        _train(trainer, tmp_path, batches=killed)
    state = _train(trainer, tmp_path)
    jax.tree.map(np.testing.assert_array_equal, jax.device_get(state), undisturbed[1])
    assert _saved(tmp_path) == _saved(undisturbed[0])
    assert read_rows(tmp_path) == read_rows(undisturbed[0])


def test_a_skipped_step_before_a_kill_is_counted(trainer, tmp_path):
    """Steps 2 and 5 are, whether the run is stopped in step 6 or not."""

    def step(state, batch, key):
        number = int(jax.device_get(state.step)) + 1
        state, metrics = trainer.step(state, batch, key)
        old = metrics["skipped_steps"]
        skipped = np.float32(number in (2, 5))
        metrics["skipped_steps"] = jax.device_put(skipped, old.sharding)
        return state, metrics

    def killed(start):
        for number, one in enumerate(batches(start), start):
            if number == 7:
                raise KeyboardInterrupt
            yield one

    with pytest.raises(KeyboardInterrupt):
        _train(trainer, tmp_path, batches=killed, step=step, log_every=100)
    _train(trainer, tmp_path, step=step, log_every=100)
    counts = [(row["step"], row["skipped_steps"]) for row in read_rows(tmp_path)]
    assert counts == [(3, 1), (6, 1), (9, 0), (10, 0)]


@pytest.fixture
def listening(monkeypatch):
    """To SIGTERM and Ctrl-C."""
    monkeypatch.setattr(termination, "_requested_by", None)
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    termination.listen()
    yield
    signal.set_wakeup_fd(-1)
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize(
    ("step", "asked", "status"), [(5, signal.SIGINT, 130), (10, signal.SIGTERM, 0)]
)
def test_a_signal_saves_the_step_it_comes_in(
    trainer, undisturbed, tmp_path, monkeypatch, listening, step, asked, status
):
    def told_to_stop(start):
        for number, one in enumerate(batches(start), start + 1):
            if number == step:
                os.kill(os.getpid(), asked)
            yield one

    with pytest.raises(termination.Stopped):
        _train(trainer, tmp_path, batches=told_to_stop)
    assert termination.exit_status() == status
    assert max(_saved(tmp_path)) == step
    monkeypatch.setattr(termination, "_requested_by", None)
    state = _train(trainer, tmp_path)
    jax.tree.map(np.testing.assert_array_equal, jax.device_get(state), undisturbed[1])


def test_sigterm_after_the_last_step_is_not_forgotten(listening):
    def last_step():
        with termination.put_off(None) as stop_after:
            assert not stop_after(10)
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(termination.Stopped):
        last_step()


def test_a_finished_run_is_not_trained_again(trainer, undisturbed):
    directory, state = undisturbed
    rows = read_rows(directory)

    def no_batches(start):
        raise AssertionError("a batch was asked for")
        yield

    jax.tree.map(
        np.testing.assert_array_equal,
        jax.device_get(_train(trainer, directory, batches=no_batches)),
        state,
    )
    assert read_rows(directory) == rows


def test_batches_are_closed(trainer, tmp_path):
    closed = []

    def watched(start):
        try:
            yield from batches(start)
        finally:
            closed.append(True)

    _train(trainer, tmp_path, batches=watched, every_steps=100)
    assert closed == [True]


@pytest.mark.parametrize(("name", "bad_step"), [("loss", 5), ("gradient_norm", 6)])
def test_divergence_names_the_step_and_saves_no_bad_state(trainer, tmp_path, name, bad_step):
    """Step 6 is saved, step 5 is not; a finite loss with a gradient that is not has
    spoilt the parameters as well.
    """

    def step(state, batch, key):
        number = int(jax.device_get(state.step)) + 1
        state, metrics = trainer.step(state, batch, key)
        if number == bad_step:
            metrics[name] = jax.device_put(np.float32(np.nan), metrics[name].sharding)
        return state, metrics

    cure = r"config\.affinity\.learning_rate.*config\.affinity\.clip"
    with pytest.raises(
        TrainingDiverged, match=rf"Step {bad_step} is not finite.*{name} nan.*{cure}"
    ):
        _train(trainer, tmp_path, step=step)
    assert _saved(tmp_path) == [3]
    assert [row["step"] for row in read_rows(tmp_path)] == [3, 4]


def test_real_divergence(tmp_path):
    trainer = Trainer(8, steps=STEPS, learning_rate=1e30)
    with pytest.raises(TrainingDiverged, match=r"Step [2345] is not finite"):
        _train(trainer, tmp_path, every_steps=100)
    assert not _saved(tmp_path)


def test_a_hidden_transfer_is_an_error(trainer, tmp_path):
    def step(state, batch, key):
        jnp.sin(np.ones(3))  # a NumPy array that goes to the device by itself
        return trainer.step(state, batch, key)

    with pytest.raises(Exception, match=r"[Dd]isallowed"):
        _train(trainer, tmp_path, step=step)
