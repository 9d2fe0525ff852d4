"""The variants of a recipe that --vary names: fields in which rows differ beside their
losses, such as refiners of the same CAMs.
"""

import shlex
from collections.abc import Sequence

from hfpl_jax.errors import InputError


def variants(given: Sequence[str]) -> dict[str, list[str]]:
    """Name -> the arguments that set its fields; {"": []} where none is given.

    Args:
      given: each "NAME: FIELD=VALUE FIELD=VALUE", without "config." before a field; a
        variant that only has a name is the recipe as it stands.

    Raises:
      InputError: one has no name or is there twice, or a word sets no field.
    """
    found: dict[str, list[str]] = {}
    for text in given:
        name, colon, settings = (part.strip() for part in text.partition(":"))
        if not name or (not colon and "=" in name):
            raise InputError(
                f"--vary={text!r} has no name. Write NAME: FIELD=VALUE, such as "
                "'crf: refine.name=crf'."
            )
        if name in found:
            raise InputError(f"--vary names {name!r} twice. Give each variant a name of its own.")
        try:
            words = shlex.split(settings)
        except ValueError as error:
            raise InputError(f"--vary={text!r}: {error}. Close every quotation mark.") from error
        if wrong := next((word for word in words if "=" not in word), ""):
            raise InputError(
                f"--vary={text!r}: {wrong!r} sets no field. Write FIELD=VALUE, such as "
                "refine.name=crf."
            )
        found[name] = [
            f"--config.{word.removeprefix('--').removeprefix('config.')}" for word in words
        ]
    return found or {"": []}
