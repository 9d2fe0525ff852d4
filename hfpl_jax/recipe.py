"""Runs a recipe, the Python file that `--config` names: its configuration."""

import importlib.util
import pathlib
import traceback

from ml_collections import ConfigDict

from hfpl_jax.errors import InputError, did_you_mean, in_brackets


def load_recipe(argument: str) -> ConfigDict:
    """What `get_config` of FILE returns for an argument "FILE" or "FILE:SWITCHES".

    Raises:
      InputError: there is no such file, or it fails, with its line.
    """
    name, _, switches = argument.partition(":")
    path = pathlib.Path(name)
    if not path.is_file():
        beside = [str(other) for other in sorted(path.parent.glob("*.py"))]
        hint = did_you_mean(name, beside)
        raise InputError(
            f"The recipe {name} does not exist{in_brackets(hint)}. Give one with "
            "--config, such as --config=configs/quickstart.py."
        )
    try:
        spec = importlib.util.spec_from_file_location("recipe", path)
        if spec is None or spec.loader is None:
            raise ImportError("its name does not end in .py")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        if not hasattr(module, "get_config"):
            raise ImportError("it has no function get_config")
        config = module.get_config(switches) if switches else module.get_config()
        if not isinstance(config, ConfigDict):
            raise TypeError(f"get_config returns {type(config).__name__}, no ConfigDict")
    except InputError:
        raise
    except Exception as error:  # whatever is written there
        raise InputError(
            f"The recipe {name} fails{_line(error, path)}: {type(error).__name__}: {error}. "
            "Correct it there."
        ) from error
    return config


def _line(error: Exception, path: pathlib.Path) -> str:
    """ " in line 7", if the error came from a line of the file."""
    if isinstance(error, SyntaxError):
        return f" in line {error.lineno}"
    lines = [
        frame.lineno
        for frame in traceback.extract_tb(error.__traceback__)
        if pathlib.Path(frame.filename).absolute() == path.absolute()
    ]
    return f" in line {lines[-1]}" if lines else ""
