"""A section of a configuration: a frozen dataclass whose fields are settings or other
sections. It checks itself when it is made.

Where a field is a `choice`, the settings of all that it may name are sections beside
it, which are checked like every other; those of the chosen one alone are read.
"""

import dataclasses
import functools
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, ClassVar, Self

from ml_collections import ConfigDict

from hfpl_jax.errors import InputError, did_you_mean, in_brackets
from hfpl_jax.setting import check_value, default_of, table_of


@dataclasses.dataclass(frozen=True)
class Switch:
    """Fields that are read only under a condition.

    Attributes:
      fields: their dotted names, or those of their sections; "*" stands for anything.
      on: whether a stage reads them, given the section of its training, "" for none.
      words: the condition, as a message says it.
    """

    fields: tuple[str, ...]
    on: Callable[[ConfigDict, str], bool]
    words: str


class Section:
    """Base of the frozen dataclasses.

    Attributes:
      path: the section's dotted name in a recipe; "" for the whole. One that begins with
        a dot, ".sgd", is of what sections in several places may choose.
      switches: the conditions of single fields.
    """

    path: ClassVar[str]
    switches: ClassVar[tuple[Switch, ...]] = ()

    def __post_init__(self):
        for field in own_fields(type(self)):
            check_value(_join(self.path, field.name), getattr(self, field.name), field)

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Self:
        """The section with `values`, as a recipe left them. One with a choice has the
        settings of the chosen one as its field `own`, or, where several are chosen,
        `own_` and the choice's name.

        Raises:
          InputError: a field that is not known, missing or holds an unusable value.
        """
        nested = sections(cls)
        _check_names([*(field.name for field in own_fields(cls)), *nested], values, cls.path)
        values = dict(values)
        for name, section in nested.items():
            if not isinstance(values[name], Mapping):
                path = _join(cls.path, name)
                raise InputError(f"config.{path} = {values[name]!r} must be a section of fields.")
            values[name] = section.of(values[name])
        for field in own_fields(cls):
            if table := table_of(field):
                check_value(_join(cls.path, field.name), values[field.name], field)
                own = values[_name(settings_of(table[values[field.name]], cls))]
                values |= {"own": own, f"own_{field.name}": own}
        known = {field.name for field in dataclasses.fields(cls)}
        return cls(**{name: value for name, value in values.items() if name in known})


def settings_of(entry: Any, chooser: type[Section]) -> type[Section]:
    """Of what the table of a choice in the section `chooser` has under a name."""
    section = section_of(entry)
    return _in_place(section, chooser.path) if section.path.startswith(".") else section


def section_of(entry: Any) -> type[Section]:
    """What a choice's table has under a name is a section, or has one."""
    return entry if isinstance(entry, type) else entry.settings


@functools.cache
def _in_place(section: type[Section], chooser: str) -> type[Section]:
    """A section whose path begins with a dot, in one of its places."""
    names = {"path": chooser + section.path, "__doc__": section.__doc__}
    return type(section.__name__, (section,), names)


def own_fields(cls: type[Section]) -> list[dataclasses.Field]:
    """Those that are settings."""
    return [field for field in dataclasses.fields(cls) if "comment" in field.metadata]


def sections(cls: type[Section], values: Mapping[str, Any] | None = None) -> dict[str, type]:
    """The sections in a section by name, in their order; with `values` only those that
    are read.
    """
    found = {}
    for field in dataclasses.fields(cls):
        is_section = isinstance(field.type, type) and issubclass(field.type, Section)
        if is_section and field.name.partition("_")[0] != "own":
            found[field.name] = field.type
        for name, entry in table_of(field).items():
            if values is None or values[field.name] == name:
                section = settings_of(entry, cls)
                found[_name(section)] = section
    return found


def defaults(cls: type[Section]) -> dict[str, Any]:
    """Every field of a section and of those in it, by name."""
    fields = {field.name: default_of(field) for field in own_fields(cls)}
    return fields | {name: defaults(section) for name, section in sections(cls).items()}


def fields(
    cls: type[Section], values: Mapping[str, Any] | None = None
) -> Iterator[tuple[type[Section], str, dataclasses.Field]]:
    """Every setting below a section: its section, dotted path and field; with `values`
    only those of sections that are read.
    """
    for field in own_fields(cls):
        yield cls, _join(cls.path, field.name), field
    for name, section in sections(cls, values).items():
        yield from fields(section, None if values is None else values[name])


def switches(cls: type[Section]) -> Iterator[Switch]:
    """That the settings of what is chosen alone are read, and their own conditions."""
    for chooser, path, field in fields(cls):
        named = {name: settings_of(entry, chooser) for name, entry in table_of(field).items()}
        for section in dict.fromkeys(named.values()):
            names = [name for name, each in named.items() if each is section]
            yield Switch(
                (section.path,),
                lambda config, _, path=path, names=names: value_of(config, path) in names,
                f"config.{path} = {' or '.join(map(repr, names))}",
            )
    yield from _own_switches(cls)


def _own_switches(cls: type[Section]) -> Iterator[Switch]:
    """The conditions of single fields in a section and those in it."""
    yield from cls.switches
    for section in sections(cls).values():
        yield from _own_switches(section)


def value_of(config: ConfigDict | Mapping, path: str) -> Any:
    for name in path.split("."):
        config = config[name]
    return config


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def _name(section: type[Section]) -> str:
    return section.path.rpartition(".")[2]


def _check_names(known: list[str], values: Iterable[str], path: str) -> None:
    """Raises InputError unless `values` has the names `known`."""
    where = _join("config", path) if path else "config"
    values = list(values)
    for name in values:
        if name not in known:
            hint = did_you_mean(name, known)
            raise InputError(
                f"{where}.{name} is no field{in_brackets(hint)}. {where} has {', '.join(known)}."
            )
    missing = [name for name in known if name not in values]
    if missing:
        raise InputError(
            f"The recipe has no {where}.{missing[0]}. Start it from "
            "hfpl_jax.defaults.default_config(), which has every field."
        )
