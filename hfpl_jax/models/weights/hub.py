"""Weight files of the Hugging Face Hub: `hf://timm/resnet50.tv_in1k` is the file
model.safetensors of that repository, downloaded once.
"""

import pathlib

from hfpl_jax.errors import InputError

SCHEME = "hf://"
FILE = "model.safetensors"


def local_file(weights: str) -> pathlib.Path:
    """Where the file that config.model.weights names lies on this machine; one of the
    Hub is downloaded where it was not before.

    Raises:
      InputError: not of the form hf://ORGANISATION/NAME; huggingface_hub is not
        installed, or cannot get the file.
    """
    if not weights.startswith(SCHEME):
        return pathlib.Path(weights).expanduser()
    repository = weights.removeprefix(SCHEME)
    if repository.count("/") != 1 or not all(repository.split("/")):
        raise InputError(
            f"config.model.weights = {weights!r} names no repository of the Hub. Write "
            f"{SCHEME}ORGANISATION/NAME, such as {SCHEME}timm/resnet50.tv_in1k."
        )
    try:
        from huggingface_hub import hf_hub_download
    except ImportError as error:
        raise InputError(
            f"config.model.weights = {weights!r} is downloaded with huggingface_hub, which is not "
            "installed. Install it (pip install huggingface_hub), or give a file."
        ) from error
    try:
        return pathlib.Path(hf_hub_download(repository, FILE))
    except Exception as error:  # of the network, of the Hub, of its cache on disk
        reason = next(iter(str(error).splitlines()), "") or type(error).__name__
        raise InputError(
            f"config.model.weights = {weights!r} cannot be downloaded ({reason}). Look at the name "
            f"and the connection, or download {FILE} on another machine and give its path."
        ) from error
