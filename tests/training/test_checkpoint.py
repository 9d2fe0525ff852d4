import shutil

import jax
import numpy as np
import orbax.checkpoint as ocp
import pytest
from orbax.checkpoint.path import atomicity
from tiny import Trainer, mesh_of, network, variables

from hfpl_jax.errors import InputError
from hfpl_jax.runtime.manifest import want
from hfpl_jax.runtime.sharding import replicated
from hfpl_jax.training.checkpoint import (
    has_checkpoints,
    open_manager,
    restore_latest,
    restore_variables,
)


def _equal(first, second):
    assert jax.tree.structure(first) == jax.tree.structure(second)
    jax.tree.map(np.testing.assert_array_equal, first, second)


@pytest.fixture(scope="module")
def run(trainer, tmp_path_factory):
    """Six steps; saved after 2, 3, 4, 5 and 6, two kept. Gives the folder and the
    states by step.
    """
    directory = tmp_path_factory.mktemp("checkpoints")
    state, states = trainer.new_state(), {}
    with open_manager(directory, every_steps=1, keep=2) as manager:
        for step in range(1, 7):
            state, _ = trainer.run(state, step - 1, step - 1)
            if step > 1:
                manager.save(step, args=ocp.args.StandardSave(state), force=True)
            states[step] = jax.tree.map(
                np.array, jax.device_get(state)
            )  # copies: the state's own memory is used again
    return directory, states


def test_the_latest_are_kept(run):
    directory, _ = run
    with open_manager(directory, every_steps=1, keep=2) as manager:
        assert sorted(manager.all_steps()) == [5, 6]


def test_interval(tmp_path):
    with open_manager(tmp_path, every_steps=3, keep=1) as manager:
        assert [step for step in range(1, 10) if manager.should_save(step)] == [3, 6, 9]


@pytest.mark.parametrize("devices", [8, 1])
def test_a_state_is_restored_bit_by_bit_on_any_number_of_devices(
    run, trainer, lone_trainer, devices
):
    """Saving goes on in the background while the next step already reuses the state's
    memory.
    """
    directory, states = run
    other = {8: trainer, 1: lone_trainer}[devices]
    with open_manager(directory, every_steps=1, keep=2) as manager:
        restored = restore_latest(manager, other.new_state(), replicated(other.mesh))
    _equal(jax.device_get(restored), states[6])
    assert restored.params["head"]["kernel"].sharding == replicated(other.mesh)
    state, rows = other.run(restored, 6, 6)  # and it trains
    assert int(state.step) == 7
    assert np.isfinite(rows[0]["loss"])


def test_saving_compiles_nothing(trainer, tmp_path):
    compiled = []

    def listen(event, _seconds, **_details):
        if "backend_compile" in event:
            compiled.append(event)

    state = trainer.new_state()
    jax.monitoring.register_event_duration_secs_listener(listen)
    try:
        with open_manager(tmp_path, every_steps=1, keep=1) as manager:
            manager.save(1, args=ocp.args.StandardSave(state), force=True)
    finally:
        jax.monitoring.unregister_event_duration_listener(listen)
    assert not compiled


def test_nothing_to_restore(tmp_path, trainer):
    with open_manager(tmp_path / "none", every_steps=1, keep=1) as manager:
        assert restore_latest(manager, trainer.new_state(), replicated(trainer.mesh)) is None


def test_variables_alone(run, trainer):
    directory, states = run
    before = sorted(path.name for path in directory.iterdir())
    abstract = variables(trainer.network)
    mesh = mesh_of(2)
    restored = restore_variables(directory, abstract, replicated(mesh))
    _equal(
        jax.device_get(restored),
        {"params": states[6].params, "batch_stats": states[6].batch_stats},
    )
    assert restored["params"]["head"]["kernel"].sharding == replicated(mesh)
    assert sorted(path.name for path in directory.iterdir()) == before


@pytest.mark.parametrize("other", [{"num_classes": 5}, {"features": 6}])
def test_another_network(run, other):
    directory, _ = run
    net = network(**other)
    abstract = variables(net)
    with pytest.raises(
        InputError, match=r"is of another network.*config\.model and the number of classes"
    ):
        restore_variables(directory, abstract, replicated(mesh_of(1)))
    trainer = Trainer(1, net=net)
    with (
        open_manager(directory, every_steps=1, keep=2) as manager,
        pytest.raises(InputError, match=r"does not fit the configured network"),
    ):
        restore_latest(manager, trainer.new_state(), replicated(trainer.mesh))


def test_another_architecture(run):
    from hfpl_jax.models.backbones.resnet import ResNet
    from hfpl_jax.models.cam_network import CamNetwork

    net = CamNetwork(ResNet(18, 32), 4)
    abstract = jax.eval_shape(
        net.init, jax.random.key(0), jax.ShapeDtypeStruct((1, 64, 64, 3), np.float32)
    )
    with pytest.raises(InputError, match="is of another network"):
        restore_variables(run[0], abstract, replicated(mesh_of(1)))


def test_no_checkpoints(tmp_path):
    for directory in (tmp_path, tmp_path / "missing"):
        with pytest.raises(
            InputError, match=r"There are no checkpoints in .* Run the train stage first"
        ):
            restore_variables(directory, {"params": {}}, replicated(mesh_of(1)))
        assert not (tmp_path / "missing").exists()


def test_whether_a_training_has_begun(run, tmp_path):
    assert has_checkpoints(run[0])
    assert not has_checkpoints(tmp_path)
    # Of one that was killed while it saved, and behind that.
    (tmp_path / "3f2a" / "checkpoints" / "5").mkdir(parents=True)
    (tmp_path / "1b4c" / "checkpoints" / "5").mkdir(parents=True)
    (tmp_path / "1b4c" / "checkpoints" / "5" / "commit_success.txt").touch()
    want(tmp_path.parent, tmp_path.name, "3f2a")
    assert not has_checkpoints(tmp_path)
    want(tmp_path.parent, tmp_path.name, "1b4c")
    assert has_checkpoints(tmp_path)


def test_a_checkpoint_without_its_last_file_is_none_and_is_written_again(
    run, trainer, tmp_path, folders_stay
):
    """As a kill leaves it; where no folder can be renamed."""
    _, states = run
    folder = shutil.copytree(run[0], tmp_path / "run")
    last = folder / "checkpoints" / "6" / "commit_success.txt"
    last.unlink()
    restored = restore_variables(folder, variables(trainer.network), replicated(trainer.mesh))
    _equal(jax.device_get(restored["params"]), states[5].params)
    assert (folder / "checkpoints" / "6").exists()  # whoever only reads removes nothing
    with open_manager(folder, every_steps=1, keep=2) as manager:
        state = restore_latest(manager, trainer.new_state(), replicated(trainer.mesh))
        _equal(jax.device_get(state), states[5])
        state, _ = trainer.run(state, 5, 5)
        manager.save(6, args=ocp.args.StandardSave(state), force=True)
    assert last.exists()
    with open_manager(folder, every_steps=1, keep=2) as manager:
        assert sorted(manager.all_steps()) == [5, 6]
        state = restore_latest(manager, trainer.new_state(), replicated(trainer.mesh))
    _equal(jax.device_get(state), states[6])


def test_one_of_an_earlier_version_is_read(run, trainer, tmp_path):
    """Its folder took its name last, and held the same file by then."""
    options = ocp.CheckpointManagerOptions(temporary_path_class=atomicity.AtomicRenameTemporaryPath)
    with ocp.CheckpointManager(tmp_path / "checkpoints", options=options) as manager:
        manager.save(6, args=ocp.args.StandardSave(run[1][6]))
    assert has_checkpoints(tmp_path)
    with open_manager(tmp_path, every_steps=1, keep=2) as manager:
        restored = restore_latest(manager, trainer.new_state(), replicated(trainer.mesh))
    _equal(jax.device_get(restored), run[1][6])


def test_full_disk_is_named(tmp_path):
    # As TensorStore says it, in the middle of a path and a hint.
    full = ValueError(
        "RESOURCE_EXHAUSTED: Error writing: Failed to write 9 bytes: No space left on device "
        "[os_error_code='28']"
    )
    with (
        pytest.raises(
            InputError, match=r"Cannot write into .*: No space left on device\. Free some space"
        ),
        open_manager(tmp_path, every_steps=1, keep=1),
    ):
        raise full


def test_other_errors_stay_what_they_are(tmp_path):
    with (
        pytest.raises(ValueError, match="of another kind"),
        open_manager(tmp_path, every_steps=1, keep=1),
    ):
        raise ValueError("of another kind")
