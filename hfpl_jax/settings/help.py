"""The fields of a configuration as text: path, value, meaning, values they take."""

import dataclasses
import textwrap
from collections.abc import Iterator

from ml_collections import ConfigDict

from hfpl_jax.section import fields, value_of
from hfpl_jax.setting import rules_of
from hfpl_jax.settings.whole import Settings

_WIDTH = 100


def describe(field: dataclasses.Field) -> str:
    """'side of a crop in pixels; at least 1'."""
    return "; ".join([field.metadata["comment"], *(rule.text for rule in rules_of(field))])


def field_lines(config: ConfigDict) -> Iterator[str]:
    """Two lines a field: as an option with its value in `config`, and what it means.
    Of what is not chosen there are none.
    """
    values = config.to_dict()
    shown = Settings
    for section, path, field in fields(Settings, values):
        if section is not shown:
            shown = section
            yield f"\n{section.__doc__.splitlines()[0]}"
        yield f"  --config.{path}={value_of(values, path)}"
        yield textwrap.fill(
            describe(field), _WIDTH, initial_indent=" " * 6, subsequent_indent=" " * 6
        )
