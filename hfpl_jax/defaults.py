"""The configuration that every recipe in configs/ starts from, and the switches of all
recipes. The fields themselves are the dataclasses in hfpl_jax/settings/.

Everything but `run` and `profile` decides the result, so a changed field re-runs the
stages that read it and those after them. `run` says how the work is done: changing it
re-runs nothing.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from ml_collections import ConfigDict

from hfpl_jax.errors import InputError
from hfpl_jax.section import defaults
from hfpl_jax.settings.whole import Settings


def default_config() -> ConfigDict:
    """CAM with both losses on a ResNet-50 at output stride 16."""
    return ConfigDict(defaults(Settings))


DEBUG = MappingProxyType(
    {
        "train.epochs": 1,
        "train.batch_size": 8,
        "train.crop_size": 128,
        "train.resize_long": (128, 160),
        "inference.scales": (1.0,),
        "inference.long_side": 160,
    }
)
"""What the switch `debug` changes for photographs: all stages in little time, for a
look at whether they run.
"""


def apply_switches(
    config: ConfigDict,
    switches: str | None,
    debug: Mapping[str, Any] = DEBUG,
    presets: Mapping[str, Mapping[str, Any]] = MappingProxyType({}),
) -> ConfigDict:
    """Applies what follows the colon in `--config=FILE:isl=0,fsl=0,seed=1,debug`.

    Args:
      config: the recipe.
      switches: the weights of the losses, the seed, `debug`, and the names of
        `presets`.
      debug: what `debug` changes, by dotted name.
      presets: what other switches of this recipe change, before all others do.

    Raises:
      InputError: an unknown switch, or a value that is no number.
    """
    fields = {
        "isl": (config.hfpl, "isl_weight"),
        "fsl": (config.hfpl, "fsl_weight"),
        "seed": (config, "seed"),
    }
    chosen = [switch for switch in (switches or "").split(",") if switch]
    for switch in sorted(chosen, key=lambda switch: switch not in presets):
        name, _, value = switch.partition("=")
        if switch in presets:
            config.update_from_flattened_dict(dict(presets[switch]))
        elif switch == "debug":
            config.update_from_flattened_dict(dict(debug))
        elif name in fields:
            section, field = fields[name]
            try:
                section[field] = type(section[field])(value)
            except ValueError as error:
                raise InputError(
                    f"The switch {switch!r} needs a number, such as {name}={section[field]}."
                ) from error
        else:
            known = ", ".join(["isl=WEIGHT", "fsl=WEIGHT", "seed=NUMBER", *presets])
            raise InputError(
                f"Unknown switch {switch!r} after the config file. Known are {known} and debug."
            )
    return config
