"""What made a result: this library's version and commit, JAX, and the devices."""

import collections
import functools
import pathlib
import subprocess

import jax

import hfpl_jax


def made_by() -> dict[str, str]:
    kinds = collections.Counter(device.device_kind for device in jax.devices())
    return {
        "hfpl_jax": hfpl_jax.__version__,
        **({"commit": commit} if (commit := _commit()) else {}),
        "jax": jax.__version__,
        "devices": ", ".join(f"{count} x {kind}" for kind, count in kinds.items()),
        "processes": str(jax.process_count()),
    }


@functools.cache
def _commit() -> str:
    """Of the checkout that the library runs from, with "-dirty" where files differ from
    it; "" if it runs from none.
    """
    folder = pathlib.Path(hfpl_jax.__file__).parent

    def git(*arguments: str) -> str:
        asked = ["git", "-C", str(folder), *arguments]
        return subprocess.run(asked, capture_output=True, text=True, check=True).stdout.strip()

    try:
        git("ls-files", "--error-unmatch", "__init__.py")  # not installed into another's checkout
        return git("describe", "--always", "--dirty", "--abbrev=12", "--exclude=*")
    except (OSError, subprocess.CalledProcessError):
        return ""
