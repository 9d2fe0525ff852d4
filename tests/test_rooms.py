"""The rooms of the library, its folders and top files, and the one way in which imports
run between them.
"""

import ast
import pathlib
import re

import pytest

import hfpl_jax

LIBRARY = pathlib.Path(hfpl_jax.__file__).parent

ORDER = (
    # Below everything: no room of the pipeline is known here.
    "__init__",
    "errors",
    "shapes",
    "masks",
    "instance",
    "precision",
    "directions",
    "setting",
    "section",
    "resize",
    "runtime",
    # The way of one image.
    "data",
    "models",
    "losses",
    "training",
    "methods",
    "inference",
    "retrieval",
    "refine",
    "metrics",
    "export",
    "report",
    # From a configuration to all of the above.
    "program",
    "build",
    "model_file",
    "trained",
    "load_network",
    "label_photographs",
    "predict",
    "few_shot",
    "portable",
    "export_model",
    "settings",
    "stages",
    "fingerprint",
    "start_checks",
    "defaults",
    "recipe",
    "pipeline",
    "topology",
    "command_line",
    "__main__",
)
"""A room imports from itself and from those before it, from no other."""


def rooms():
    return {path.stem for path in LIBRARY.glob("*.py")} | {
        path.parent.name for path in LIBRARY.glob("*/__init__.py")
    }


def imported(source):
    """(line, room) of every import from the library in a file's source, wherever it
    stands; a relative one, which this library has none of, is the room "".
    """
    for node in ast.walk(ast.parse(source)):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.level:
            yield node.lineno, ""
        elif isinstance(node, ast.ImportFrom):
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        for name in names:
            library, *inner = name.split(".")
            if library == "hfpl_jax":
                yield node.lineno, inner[0] if inner and inner[0] in rooms() else "__init__"


def upward(source, room):
    """(line, room) of the imports that a file of `room` must not have."""
    allowed = ORDER[: ORDER.index(room) + 1]
    return [(line, other) for line, other in imported(source) if other not in allowed]


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("import jax, grain.experimental\nfrom data import x", []),
        ("import hfpl_jax\nfrom hfpl_jax import __version__", []),
        ("from hfpl_jax import masks\nfrom hfpl_jax.data import batches", []),
        ("from hfpl_jax.models.resnet import (\n    BLOCKS,\n    ResNet,\n)", []),
        ("from hfpl_jax.losses import gap_loss", [(1, "losses")]),
        ("import jax\nimport hfpl_jax.stages.table as table", [(2, "stages")]),
        ("from hfpl_jax import errors, pipeline", [(1, "pipeline")]),
        ("def late():\n    from hfpl_jax.refine import dense_crf", [(2, "refine")]),
        ("from . import resnet", [(1, "")]),
    ],
)
def test_what_a_file_of_models_may_import(source, expected):
    assert upward(source, "models") == expected


def test_every_room_has_its_place():
    assert sorted(ORDER) == sorted(rooms())


def test_no_import_runs_upward():
    found = {}
    for path in LIBRARY.rglob("*.py"):
        inside = path.relative_to(LIBRARY)
        if inside.name == str(inside) == "__init__.py":
            continue  # the front door: what it imports, it imports when it is asked for it
        if wrong := upward(path.read_text(), pathlib.Path(inside.parts[0]).stem):
            found[str(inside)] = wrong
    assert not found


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md"])
def test_the_arrows_that_a_newcomer_reads_are_this_order(page):
    text = (LIBRARY.parent / page).read_text()
    arrows = re.search(r"data/?(?:\s+->\s+\w+/?)+", text)[0]
    told = re.findall(r"\w+", arrows)
    assert told == list(ORDER[ORDER.index("data") : ORDER.index("report") + 1])
