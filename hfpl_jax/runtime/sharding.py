"""Where arrays live: a one-axis `data` mesh over devices. Every sharding of the program
is stated here.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from hfpl_jax.errors import InputError

_SMALL = 2**16
"""An array of fewer elements is never divided."""


def data_mesh(
    batch_size: int, field: str, *, rows: int = 1, devices: Sequence[jax.Device] | None = None
) -> Mesh:
    """The mesh of all devices of all processes, or of the given ones, among which a
    training batch is divided such that each so many `rows` in a row, a group, stay on
    one device.

    Raises:
      InputError: `batch_size`, given in the config field `field`, does not divide into
        the devices, or not into groups.
    """
    return _mesh(jax.devices() if devices is None else devices, batch_size, field, group=rows)


def local_mesh(
    batch_size: int, field: str, *, views: int = 1, devices: Sequence[jax.Device] | None = None
) -> Mesh:
    """The mesh of this process's devices, or of the given ones, among which a batch of
    `views` images for each of `batch_size` photographs is divided.

    Inference needs no word from other processes, so each works at its own pace.

    Raises:
      InputError: `batch_size`, given in the config field `field`, does not divide into
        the devices.
    """
    return _mesh(jax.local_devices() if devices is None else devices, batch_size, field, views)


def _mesh(
    devices: Sequence[jax.Device], batch_size: int, field: str, views: int = 1, group: int = 1
) -> Mesh:
    unit = len(devices) // math.gcd(len(devices), views) * group
    if batch_size < 1 or batch_size % unit:
        smaller, larger = batch_size // unit * unit, max(1, -(-batch_size // unit)) * unit
        fitting = f"{smaller} or {larger}" if smaller > 0 else f"{larger}"
        of_groups = f" of whole groups of {group} images" if group > 1 else ""
        raise InputError(
            f"{field} = {batch_size} does not divide into {len(devices)} devices{of_groups}. Set "
            f"it to a multiple of {unit}, such as {fitting}."
        )
    return Mesh(np.asarray(devices), ("data",), axis_types=(AxisType.Auto,))


def replicated(mesh: Mesh) -> NamedSharding:
    return NamedSharding(mesh, PartitionSpec())


def state_sharding(mesh: Mesh, tree, *, sharded: bool):
    """Where each array of a training state lives: on every device or, `sharded`, in
    parts along its largest axis that divides.

    Small arrays stay whole: what they take is little, and fetching their parts costs
    more than it saves. (The rule of fully sharded data parallel training: the batch is
    divided along the same axis of the mesh, and the compiler fetches the parts where it
    needs them.)
    """

    def place(leaf) -> NamedSharding:
        fitting = [axis for axis, side in enumerate(leaf.shape) if side % mesh.size == 0]
        if not sharded or leaf.size < _SMALL or not fitting:
            return replicated(mesh)
        largest = max(fitting, key=lambda axis: leaf.shape[axis])
        return NamedSharding(mesh, PartitionSpec(*(None,) * largest, "data"))

    return jax.tree.map(place, tree)


def replicated_key(mesh: Mesh, seed: int) -> jax.Array:
    """The random key of a training, on every device of every process."""
    words = np.asarray(jax.random.key_data(jax.random.fold_in(jax.random.key(seed), 1)))
    return jax.random.wrap_key_data(jax.device_put(words, replicated(mesh)))


def batch_sharding(mesh: Mesh) -> NamedSharding:
    return NamedSharding(mesh, PartitionSpec("data"))


def put_batch(mesh: Mesh, batch: Mapping[str, Any]) -> dict[str, Any]:
    """This process's rows of a batch, which may hold others by name, become part of the
    global, sharded batch.
    """
    with jax.transfer_guard("allow"):  # this is the transfer that a loop is allowed
        return jax.tree.map(
            lambda array: jax.make_array_from_process_local_data(batch_sharding(mesh), array),
            dict(batch),
        )
