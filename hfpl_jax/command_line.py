"""What is typed behind `python -m hfpl_jax`: options, a recipe and the fields that
differ from it. Every slip is told in a sentence.
"""

import dataclasses
import itertools
import pathlib
import re
from collections.abc import Sequence

from absl import flags
from ml_collections import ConfigDict, config_flags

from hfpl_jax.defaults import default_config
from hfpl_jax.errors import InputError, did_you_mean, in_brackets
from hfpl_jax.program import define_processes, help_lines
from hfpl_jax.recipe import load_recipe
from hfpl_jax.section import fields
from hfpl_jax.setting import check_value, table_of
from hfpl_jax.settings.help import field_lines
from hfpl_jax.settings.whole import Settings

_HELP = ("--help", "-h", "--helpfull", "-help")
_USAGE = "--config=RECIPE[:SWITCHES] --workdir=FOLDER [--config.FIELD=VALUE ...]"
_RECIPE = "a file of configs/, such as configs/quickstart.py or configs/cam.py:data=coco"


@dataclasses.dataclass(frozen=True)
class Command:
    """What is asked for; `recipe` is the argument of --config, whose content, with the
    fields that were typed, is `config`.
    """

    recipe: str
    config: ConfigDict
    workdir: pathlib.Path
    stages: list[str] | None
    dry_run: bool
    distributed: bool
    coordinator: str | None
    processes: int | None
    process: int | None


def parse(arguments: Sequence[str]) -> Command | None:
    """The command in `arguments`, which lack the program's name; None if only help is
    asked for, which is then printed.

    Raises:
      InputError: an option, a field, a value or a recipe is not what it should be.
    """
    options = _options()
    typed = read(arguments, options, "hfpl_jax")
    if typed is None:
        return None
    recipe, config = typed
    values = {name: options[name].value for name in options if name in _names()}
    return Command(
        **values | {"config": config, "workdir": pathlib.Path(values["workdir"])}, recipe=recipe
    )


def read(
    arguments: Sequence[str], options: flags.FlagValues, program: str
) -> tuple[str, ConfigDict] | None:
    """Reads `arguments` into the `options` of a program that runs a recipe.

    Args:
      arguments: without the program's name.
      options: all but --config; among them is --workdir.
      program: the module's name, for the help.

    Returns:
      The argument of --config and its configuration, with the fields that were typed;
      None if only help is asked for, which is then printed.

    Raises:
      InputError: see `parse`.
    """
    recipe, rest = _split(arguments)
    if any(argument in _HELP for argument in rest):
        print(_help(recipe, rest, options, program))
        return None
    if not recipe:
        raise InputError(f"--config is missing: it names {_RECIPE}.")
    config = load_recipe(recipe)
    _check_fields(rest, config)
    known = ["config", *options]
    try:
        config_flags.DEFINE_config_dict(
            "config", config, flag_values=options, sys_argv=["hfpl_jax", *rest]
        )
        _, *words = options(["hfpl_jax", *rest])
    except (flags.Error, ValueError, TypeError, SyntaxError) as error:
        raise InputError(_told(error, known)) from error
    if words:
        raise InputError(f"Unknown argument {words[0]!r}. Options start with two dashes.")
    if not options["workdir"].value:
        raise InputError("--workdir is missing: it names the folder of this run.")
    return recipe, config


def _choose(config: ConfigDict, arguments: Sequence[str]) -> None:
    """Sets what `arguments` choose, whose fields the help is to show."""
    choices = {path: field for _, path, field in fields(Settings) if table_of(field)}
    for argument, following in itertools.zip_longest(arguments, arguments[1:], fillvalue=""):
        option, given, value = argument.partition("=")
        path = option.lstrip("-").removeprefix("config.")
        if path in choices and option.startswith("-"):
            chosen = value if given else following
            check_value(path, chosen, choices[path])
            config.update_from_flattened_dict({path: chosen})


def _names() -> set[str]:
    return {field.name for field in dataclasses.fields(Command)}


def _options() -> flags.FlagValues:
    options = flags.FlagValues()
    flags.DEFINE_string(
        "workdir", None, "Folder of this run: made if missing, resumed if not.", options
    )
    flags.DEFINE_list(
        "stages",
        None,
        "Stages to run, in the pipeline's order, such as cams,metrics or round2/cams; all if not "
        "given.",
        options,
    )
    flags.DEFINE_bool(
        "dry_run",
        False,
        "Only say what the training would take: parameters, FLOPs, memory a device.",
        options,
    )
    define_processes(options)
    return options


def _split(arguments: Sequence[str]) -> tuple[str, list[str]]:
    """The argument of --config, "" if it is not there, and all others."""
    recipe, rest = "", []
    following = iter(arguments)
    for argument in following:
        name, given, value = argument.partition("=")
        if name in ("--config", "-config"):
            recipe = value if given else next(following, "")
        else:
            rest.append(argument)
    return recipe, rest


def _check_fields(arguments: Sequence[str], config: ConfigDict) -> None:
    """Raises InputError for `--config.NAME=...` where the recipe has no such field."""
    for argument in arguments:
        match = re.match(r"--?(?:no)?config\.([^=]*)", argument)
        place, where = config, "config"
        for name in match[1].split(".") if match else ():
            known = list(place) if isinstance(place, ConfigDict) else []
            if name not in known:
                path = f"config.{match[1]}"
                hint = did_you_mean(name, known) or did_you_mean(
                    path, [f"config.{path}" for _, path, _ in fields(Settings)]
                )
                raise InputError(
                    f"There is no field {path}{in_brackets(hint)}. {where} has "
                    f"{', '.join(known) or 'no fields'}; --help shows all of them."
                )
            place, where = place[name], f"{where}.{name}"


def _told(error: Exception, options: Sequence[str]) -> str:
    """The sentence of what the parser of the options raises."""
    if isinstance(error, flags.UnrecognizedFlagError):
        hint = did_you_mean(error.flagname, options)
        return f"Unknown option --{error.flagname}{in_brackets(hint)}; see --help."
    match = re.match(r"flag --config\.([\w.]+)=(.*?): ", str(error), re.DOTALL)
    known = {path: field for _, path, field in fields(Settings)}
    if match and match[1] in known:
        try:
            check_value(match[1], match[2], known[match[1]])
        except InputError as told:
            return str(told)
    if other := re.match(r"flag (--[\w.]+=.*?): (.*)", str(error), re.DOTALL):
        # Python's words say nothing to a user; all others are the parser's own.
        if re.match("invalid literal|could not convert", other[2]):
            return f"{other[1]} is not of the kind that this option takes; see --help."
        return f"{other[1]}: {' '.join(other[2].split())}. Correct that option; see --help."
    return f"{' '.join(str(error).split())}. Correct that option; see --help."


def _help(recipe: str, arguments: Sequence[str], options: flags.FlagValues, program: str) -> str:
    lines = [f"python -m {program} {_USAGE}\n", f"  --config\n      {_RECIPE}"]
    lines += help_lines(options)
    config = load_recipe(recipe) if recipe else default_config()
    _choose(config, arguments)
    lines.append(f"\nFields, with {f'the values of {recipe}' if recipe else 'their defaults'}:\n")
    return "\n".join([*lines, *field_lines(config)])
