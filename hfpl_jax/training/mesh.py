"""Where arrays live: a one-axis `data` mesh over all devices. Every sharding of the program is stated here."""

import math
from collections.abc import Mapping

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from hfpl_jax.errors import InputError


def data_mesh(batch_size: int, field: str, *, views: int = 1) -> Mesh:
    """The mesh of all devices, among which a batch of `views` images for each of `batch_size` photographs is divided.

    Raises:
      InputError: `batch_size`, given in the config field `field`, does not divide into the devices.
    """
    devices = jax.device_count()
    unit = devices // math.gcd(devices, views)
    if batch_size < 1 or batch_size % unit:
        smaller, larger = batch_size // unit * unit, max(1, -(-batch_size // unit)) * unit
        fitting = f"{smaller} or {larger}" if smaller > 0 else f"{larger}"
        raise InputError(
            f"{field} = {batch_size} does not divide into {devices} devices. Set it to a multiple of {unit}, such as {fitting}."
        )
    return jax.make_mesh((devices,), ("data",), axis_types=(AxisType.Auto,))


def replicated(mesh: Mesh) -> NamedSharding:
    return NamedSharding(mesh, PartitionSpec())


def batch_sharding(mesh: Mesh) -> NamedSharding:
    return NamedSharding(mesh, PartitionSpec("data"))


def put_batch(mesh: Mesh, batch: Mapping[str, np.ndarray]) -> dict[str, jax.Array]:
    """This process's rows of a batch become part of the global, sharded batch."""
    return {name: jax.make_array_from_process_local_data(batch_sharding(mesh), array) for name, array in batch.items()}
