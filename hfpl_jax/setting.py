"""One field of a configuration: its default, what it means and which values it takes.
A value is held against the annotation's type, then against the rules.
"""

import dataclasses
import math
import re
import types
import typing
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from hfpl_jax.errors import InputError, did_you_mean, in_brackets

_TYPES = {int: "a whole number", float: "a number", bool: "True or False", str: "a text"}


@dataclasses.dataclass(frozen=True)
class Rule:
    """What a value of the right type must be.

    Attributes:
      text: completes "must be ...".
      holds: whether a value obeys.
      hint: what to say of one that does not, in brackets; "" for nothing.
      example: whether the default follows as one; a list of choices needs none.
    """

    text: str
    holds: Callable[[Any], bool]
    hint: Callable[[Any], str] = lambda value: ""
    example: bool = True


def at_least(least: float) -> Rule:
    return Rule(f"at least {least}", lambda value: value >= least)


def above(bound: float) -> Rule:
    return Rule(f"above {bound}", lambda value: value > bound)


def within(least: float, most: float) -> Rule:
    return Rule(f"from {least} to {most}", lambda value: least <= value <= most)


def between(low: float, high: float) -> Rule:
    return Rule(f"above {low} and below {high}", lambda value: low < value < high)


def above_up_to(bound: float, most: float) -> Rule:
    return Rule(f"above {bound} and at most {most}", lambda value: bound < value <= most)


def from_to_below(least: float, bound: float) -> Rule:
    return Rule(f"at least {least} and below {bound}", lambda value: least <= value < bound)


def one_of(*choices: str | int) -> Rule:
    names = ", ".join(str(choice) or '""' for choice in choices)
    return Rule(
        f"one of {names}",
        lambda value: value in choices,
        lambda value: did_you_mean(value, choices),
        example=False,
    )


def some(rule: Rule) -> Rule:
    """Of a tuple with one value or more."""
    return Rule(
        f"a tuple of at least one value, all {rule.text}",
        lambda values: bool(values) and all(map(rule.holds, values)),
    )


def some_of(*choices: str) -> Rule:
    """Of a tuple with one of the choices or several."""
    return Rule(
        f"one or several of {', '.join(choices)}, each once",
        lambda values: 0 < len(values) == len(set(values)) and set(values) <= set(choices),
        lambda values: next(
            (did_you_mean(value, choices) for value in values if value not in choices), ""
        ),
        example=False,
    )


def ascending(rule: Rule) -> Rule:
    """Of a pair (low, high)."""
    return Rule(
        f"two numbers, both {rule.text}, the smaller one first",
        lambda pair: rule.holds(pair[0]) and pair[0] <= pair[1],
    )


def _pattern_error(patterns: Iterable) -> str:
    for pattern in patterns:
        try:
            re.compile(pattern if isinstance(pattern, str) else pattern[0])
        except re.error as error:
            return f"{pattern!r}: {error}"
    return ""


patterns = Rule(
    "regular expressions as Python's re knows them",
    lambda value: not _pattern_error(value),
    _pattern_error,
)
"""Of a tuple of patterns, or of pairs that begin with one."""


def setting(default: Any, comment: str, *rules: Rule) -> Any:
    """A field of a section."""
    shared = {"metadata": {"comment": comment, "rules": rules}}
    if isinstance(default, dict):
        return dataclasses.field(default_factory=lambda: dict(default), **shared)
    return dataclasses.field(default=default, **shared)


def anew(section: type, name: str, default: Any) -> Any:
    """The field of that name in `section`, with another default."""
    [field] = [field for field in dataclasses.fields(section) if field.name == name]
    return dataclasses.field(default=default, metadata=field.metadata)


def choice(default: str, comment: str, table: Mapping[str, Any]) -> Any:
    """A field whose value is a name in `table`.

    What a name stands for is, or has as `settings`, a `Section` whose `path` lies in the
    section of this field: its own fields, which are read where such a name is chosen
    alone.
    """
    metadata = {"comment": comment, "rules": (), "table": table}
    return dataclasses.field(default=default, metadata=metadata)


def table_of(field: dataclasses.Field) -> Mapping[str, Any]:
    """What a `choice` chooses from, as it stands now; empty for every other field."""
    return field.metadata.get("table", {})


def rules_of(field: dataclasses.Field) -> tuple[Rule, ...]:
    table = table_of(field)
    return (one_of(*table),) if table else field.metadata["rules"]


def default_of(field: dataclasses.Field) -> Any:
    missing = field.default is dataclasses.MISSING
    return field.default_factory() if missing else field.default


def _type_error(value: Any, annotation: Any) -> str:
    """What a value must be to be of the annotated type; "" if it is."""
    if annotation is dict:
        return "" if isinstance(value, Mapping) else "a dictionary"
    if typing.get_origin(annotation) is not tuple:
        accepted = int | float if annotation is float else annotation
        fits = isinstance(value, accepted) and isinstance(value, bool) == (annotation is bool)
        fits = fits and not (isinstance(value, float) and not math.isfinite(value))
        return "" if fits else _TYPES[annotation]
    items = typing.get_args(annotation)
    if Ellipsis in items:
        text, wanted = f"a tuple, each value {_item(items[0])}", None
    else:
        text, wanted = f"a tuple of {len(items)} values, each {_item(items[0])}", len(items)
    if not isinstance(value, tuple | list) or wanted not in (None, len(value)):
        return text
    kinds = items if wanted else (items[0],) * len(value)
    return text if any(map(_type_error, value, kinds)) else ""


def _item(annotation: Any) -> str:
    if isinstance(annotation, types.GenericAlias):
        inner = ", ".join(_item(item) for item in typing.get_args(annotation))
        return f"a pair ({inner})"
    return _TYPES[annotation]


def check_value(path: str, value: Any, field: dataclasses.Field) -> None:
    """Raises InputError, with what the field takes, if `value` is nothing for it."""
    example = f", such as {default_of(field)!r}"
    wrong = _type_error(value, field.type)
    if wrong:
        text = ""
        if field.type in _TYPES:
            text = "".join(f", {rule.text}" for rule in rules_of(field))
        raise InputError(f"config.{path} = {value!r} must be {wrong}{text}{example}.")
    for rule in rules_of(field):
        if not rule.holds(value):
            hint = rule.hint(value)
            raise InputError(
                f"config.{path} = {value!r} must be {rule.text}{in_brackets(hint)}"
                f"{example if rule.example else ''}."
            )
