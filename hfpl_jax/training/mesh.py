"""Where arrays live: a one-axis `data` mesh over all devices. Every sharding of the program is stated here."""

from collections.abc import Mapping

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from hfpl_jax.errors import InputError


def data_mesh(batch_size: int, field: str) -> Mesh:
    """The mesh of all devices, among which a batch is divided.

    Raises:
      InputError: `batch_size`, given in the config field `field`, does not divide into the devices.
    """
    devices = jax.device_count()
    if batch_size % devices:
        smaller, larger = batch_size // devices * devices, -(-batch_size // devices) * devices
        fitting = f"{smaller} or {larger}" if smaller else f"{larger}"
        raise InputError(
            f"{field} = {batch_size} does not divide into {devices} devices. Set it to a multiple of {devices}, such as {fitting}."
        )
    return jax.make_mesh((devices,), ("data",), axis_types=(AxisType.Auto,))


def replicated(mesh: Mesh) -> NamedSharding:
    return NamedSharding(mesh, PartitionSpec())


def batch_sharding(mesh: Mesh) -> NamedSharding:
    return NamedSharding(mesh, PartitionSpec("data"))


def put_batch(mesh: Mesh, batch: Mapping[str, np.ndarray]) -> dict[str, jax.Array]:
    """This process's rows of a batch become part of the global, sharded batch."""
    return {name: jax.make_array_from_process_local_data(batch_sharding(mesh), array) for name, array in batch.items()}
