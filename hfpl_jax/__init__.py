"""High-fidelity pseudo-labels in JAX: image labels in, segmentation masks out.
`hfpl_jax.losses` is what other code imports, `hfpl_jax.load` gives a trained network.
"""

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hfpl_jax.trained import TrainedNetwork

__version__ = "0.2.0"


def load(
    run: str | os.PathLike, network: str | None = None, *, batch_size: int | None = None
) -> "TrainedNetwork":
    """The network of a finished training, see `hfpl_jax.load_network.load`."""
    from hfpl_jax import load_network  # here, so that the library is light to import

    return load_network.load(run, network, batch_size=batch_size)
