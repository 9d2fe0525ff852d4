"""JSON that a stage leaves in its folder for the stages behind it."""

import json
import pathlib

from hfpl_jax.errors import InputError


def read_stage_json(path: pathlib.Path) -> dict:
    """The object in a file of a stage's folder.

    Raises:
      InputError: the file is missing, no JSON, or holds no object.
    """
    try:
        content = json.loads(path.read_bytes())
        if not isinstance(content, dict):
            raise ValueError(f"it holds no object but a value of the type {type(content).__name__}")
    except (OSError, ValueError, RecursionError) as error:
        raise unusable(path, error) from error
    return content


def unusable(path: pathlib.Path, error: object) -> InputError:
    return InputError(
        f"{path} is not readable ({error}). Delete the folder {path.parent} to run that stage "
        "again."
    )
