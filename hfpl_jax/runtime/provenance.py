"""What made a result, and when: this library's version and commit, JAX, the devices,
the machine and the day.
"""

import collections
import datetime
import functools
import pathlib
import platform
import re
import subprocess

import jax

import hfpl_jax
from hfpl_jax.runtime.cores import available_cores


def made_by() -> dict[str, str]:
    """The day is UTC's."""
    kinds = collections.Counter(device.device_kind for device in jax.devices())
    return {
        "hfpl_jax": hfpl_jax.__version__,
        **({"commit": found} if (found := commit()) else {}),
        "jax": jax.__version__,
        "devices": ", ".join(f"{count} x {kind}" for kind, count in kinds.items()),
        "processes": str(jax.process_count()),
        "machine": machine(),
        "date": today(),
    }


def today() -> str:
    return datetime.datetime.now(datetime.UTC).date().isoformat()


def machine() -> str:
    """The processor, as far as this process may use it, and Python: "2 cores of AMD
    EPYC, Python 3.11.7".
    """
    listed = pathlib.Path("/proc/cpuinfo")
    model = re.search(r"model name\s*: (.*)", listed.read_text()) if listed.exists() else None
    processor = model[1].strip() if model else platform.processor() or platform.machine()
    return f"{available_cores()} cores of {processor}, Python {platform.python_version()}"


@functools.cache
def commit() -> str:
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
