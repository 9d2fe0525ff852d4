"""Every field of a configuration: default, meaning, and the values it takes.

`default_config` in hfpl_jax/defaults.py, the help of the command and the checks before
a run are all made from these dataclasses, one for each section.
"""

from hfpl_jax.settings.checks import check, check_dataset
from hfpl_jax.settings.whole import Settings

__all__ = ["Settings", "check", "check_dataset"]
