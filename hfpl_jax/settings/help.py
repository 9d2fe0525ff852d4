"""The fields of a configuration as text: path, value, meaning, values they take."""

import dataclasses
import textwrap
from collections.abc import Iterator

from ml_collections import ConfigDict

from hfpl_jax.settings.whole import Settings, is_section

_WIDTH = 100


def fields() -> Iterator[tuple[str, dataclasses.Field]]:
    """Dotted path and field, in the order of the sections."""
    for field in dataclasses.fields(Settings):
        if is_section(field):
            for inner in dataclasses.fields(field.type):
                yield f"{field.name}.{inner.name}", inner
        else:
            yield field.name, field


def describe(field: dataclasses.Field) -> str:
    """'side of a crop in pixels; at least 1'."""
    return "; ".join([field.metadata["comment"], *(rule.text for rule in field.metadata["rules"])])


def field_lines(config: ConfigDict) -> Iterator[str]:
    """Two lines a field: as an option with its value in `config`, and what it means."""
    values = config.to_dict()
    section = None
    for path, field in fields():
        name, _, inner = path.partition(".")
        if inner and name != section:
            section = name
            yield f"\n{_section(name).__doc__.splitlines()[0]}"
        value = values[name][inner] if inner else values[name]
        yield f"  --config.{path}={value}"
        yield textwrap.fill(
            describe(field), _WIDTH, initial_indent=" " * 6, subsequent_indent=" " * 6
        )


def _section(name: str) -> type:
    return next(field.type for field in dataclasses.fields(Settings) if field.name == name)
