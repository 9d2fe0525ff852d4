"""The arrays of a weight file: safetensors, npz or MXNet's, read with NumPy alone."""

import os
import pathlib

import numpy as np
import safetensors.numpy

from hfpl_jax.errors import InputError
from hfpl_jax.models.weights.hub import local_file
from hfpl_jax.models.weights.mxnet_params import read_mxnet_params
from hfpl_jax.models.weights.npz import read_npz

RANDOM = "random"
"""What config.model.weights says in place of a file's name."""

SUFFIXES = (".safetensors", ".npz", ".params")

CONVERT = (
    "Save the state dict with safetensors.torch.save_file, or its arrays with numpy.savez, "
    "and give that file."
)


def read_weights(path: str | os.PathLike) -> dict[str, np.ndarray]:
    """Every array of a `.safetensors`, `.npz` or (MXNet's) `.params` file under the
    name it has there; or of a file of the Hub, `hf://...`. Nothing is unpickled.

    Raises:
      InputError: the file is absent, of another kind, truncated, or holds Python
        objects.
    """
    path = local_file(os.fspath(path))
    if not path.is_file():
        raise absent(path)
    if path.suffix == ".params":
        return read_mxnet_params(path)
    try:
        if path.suffix == ".safetensors":
            return safetensors.numpy.load_file(path)
        if path.suffix == ".npz":
            return read_npz(path)
    except Exception as error:  # whatever a damaged or forged file makes the readers raise
        reason = str(error) or type(error).__name__
        raise InputError(
            f"The weight file {path} cannot be read ({reason}): it is damaged or not what its name "
            f"says. {CONVERT}"
        ) from error
    raise InputError(
        f"The weight file {path} is neither .safetensors nor .npz nor .params. {CONVERT}"
    )


def absent(path: pathlib.Path) -> InputError:
    """That a weight file is not there."""
    return InputError(
        f"The weight file {path} does not exist. Set config.model.weights to a .safetensors, "
        f".npz or .params file, to one of the Hugging Face Hub (hf://timm/NAME), or to {RANDOM!r} "
        "to train from random numbers."
    )
