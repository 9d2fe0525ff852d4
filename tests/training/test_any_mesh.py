"""One training on any mesh, its parameters whole or divided; a checkpoint of one mesh
on another."""

import jax
import numpy as np
import orbax.checkpoint as ocp
import pytest
from jax.sharding import PartitionSpec
from tiny import Trainer, mesh_of, network

from hfpl_jax.runtime.sharding import state_sharding
from hfpl_jax.training.checkpoint import open_manager, restore_latest

pytestmark = pytest.mark.optimized

STEPS = 3
TOLERANCE = 2e-5
"""Of losses and parameters after three steps in float32: sums are taken in another
order.
"""


def wide(devices, *, sharded=False):
    """The second convolution has 3 * 3 * 96 * 96 weights: enough to be divided."""
    return Trainer(devices, sharded=sharded, net=network(features=96))


@pytest.fixture(scope="module")
def eight():
    """Eight devices with divided parameters."""
    return wide(8, sharded=True)


@pytest.fixture(scope="module")
def expected():
    """Losses and state of one device."""
    trainer = wide(1)
    state, rows = trainer.run(trainer.new_state(), 0, STEPS - 1)
    return jax.device_get(state), rows


def close(found, expected):
    for (path, left), right in zip(
        jax.tree_util.tree_leaves_with_path(expected), jax.tree.leaves(found), strict=True
    ):
        np.testing.assert_allclose(
            right, left, rtol=TOLERANCE, atol=TOLERANCE, err_msg=jax.tree_util.keystr(path)
        )


def test_large_arrays_are_divided_along_their_largest_axis():
    shapes = {
        "kernel": (3, 3, 512, 1024),
        "odd": (7, 100003),
        "bias": (1024,),
        "scalar": (),
        "tall": (2048, 40),
    }
    tree = {name: jax.ShapeDtypeStruct(shape, np.float32) for name, shape in shapes.items()}
    specs = {
        name: sharding.spec
        for name, sharding in state_sharding(mesh_of(8), tree, sharded=True).items()
    }
    whole = PartitionSpec()
    assert specs == {
        "kernel": PartitionSpec(None, None, None, "data"),
        "odd": whole,
        "bias": whole,
        "scalar": whole,
        "tall": PartitionSpec("data"),
    }
    assert {
        sharding.spec for sharding in state_sharding(mesh_of(8), tree, sharded=False).values()
    } == {whole}


@pytest.mark.parametrize(("devices", "sharded"), [(2, False), (4, False), (8, False), (4, True)])
def test_any_mesh_trains_as_one_device(expected, devices, sharded):
    trainer = wide(devices, sharded=sharded)
    state, rows = trainer.run(trainer.new_state(), 0, STEPS - 1)
    close(rows, expected[1])
    close(jax.device_get(state), expected[0])


def test_divided_parameters_stay_divided(eight, expected):
    state, rows = eight.run(eight.new_state(), 0, STEPS - 1)
    kernel = state.params["backbone"]["layer2_conv"]["kernel"]
    assert kernel.addressable_shards[0].data.size == kernel.size // 8
    momenta = [leaf for leaf in jax.tree.leaves(state.opt_state) if leaf.shape == kernel.shape]
    assert momenta
    assert all(leaf.addressable_shards[0].data.size == kernel.size // 8 for leaf in momenta)
    close(rows, expected[1])
    close(jax.device_get(state), expected[0])


@pytest.mark.parametrize(("devices", "sharded"), [(2, False), (2, True), (1, False)])
def test_a_checkpoint_of_eight_devices_on_fewer(eight, tmp_path_factory, devices, sharded):
    folder = tmp_path_factory.mktemp("run")
    state, _ = eight.run(eight.new_state(), 0, 0)
    before = jax.device_get(state)
    with open_manager(folder, every_steps=1, keep=1) as manager:
        manager.save(1, args=ocp.args.StandardSave(state), force=True)
        manager.wait_until_finished()
        mesh = mesh_of(devices)
        shardings = state_sharding(mesh, state, sharded=sharded)
        restored = restore_latest(manager, state, shardings)
    assert jax.tree.map(lambda leaf: leaf.sharding, restored) == shardings
    jax.tree.map(np.testing.assert_array_equal, jax.device_get(restored), before)
