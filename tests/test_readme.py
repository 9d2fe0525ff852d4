"""What the documents say can be done."""

import math
import pathlib
import re

import jax
import jax.numpy as jnp
import pytest

from hfpl_jax.defaults import default_config
from hfpl_jax.errors import InputError
from hfpl_jax.recipe import load_recipe

ROOT = pathlib.Path(__file__).parents[1]
NOTES = sorted(path.relative_to(ROOT).as_posix() for path in ROOT.glob("experiments/notes/*.md"))
DOCUMENTS = (
    *("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "tests/goldens/README.md"),
    *("experiments/README.md", *NOTES),
)
OPTIONS = "data.options"  # a field whose content belongs to each dataset


PROGRAMS = sorted(
    path.relative_to(ROOT).as_posix()
    for folder in ("configs", "experiments", "hfpl_jax")
    for path in (ROOT / folder).rglob("*.py")
)
RECIPE = re.compile(r"(?:--config=|`)(configs/[\w/]+\.py(?::[\w=,]*\w)?)")


def without_tables(text):
    """Without those that are made from results, whose recipes are those of their
    commits.
    """
    return re.sub(r"<!-- table .*?<!-- end of table -->", "", text, flags=re.DOTALL)


def without_code(text):
    return re.sub(r"^ *```.*?^ *```$", "", text, flags=re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("name", DOCUMENTS)
def test_prose_has_at_most_88_columns(name):
    lines = without_code((ROOT / name).read_text()).splitlines()
    unbreakable = re.compile(r"\||!\[|\s*\S+$")
    assert not [line for line in lines if len(line) > 88 and not unbreakable.match(line)]


@pytest.mark.parametrize("name", DOCUMENTS)
def test_links_to_files_lead_somewhere(name):
    text = without_tables(without_code((ROOT / name).read_text()))
    links = [link for link in re.findall(r"\]\(([^)]+)\)", text) if "://" not in link]
    named = re.findall(r"`((?:configs|tests|hfpl_jax|experiments)/[\w./]*)`", text)
    missing = [link for link in links if not (ROOT / name).parent.joinpath(link).exists()]
    assert not missing + [path for path in named if not (ROOT / path).exists()]


@pytest.mark.parametrize("name", DOCUMENTS)
def test_every_field_that_is_named_exists(name):
    config = default_config()
    known = set()

    def add(section, path):
        for key, value in section.items():
            known.add(f"{path}{key}")
            if hasattr(value, "items"):
                add(value, f"{path}{key}.")

    add(config, "")
    named = re.findall(r"--config\.([\w.]*\w)", (ROOT / name).read_text())
    assert not [field for field in named if field not in known and not field.startswith(OPTIONS)]


def test_every_recipe_that_is_named_loads_with_its_switches():
    named = {
        recipe: name
        for name in (*DOCUMENTS, *PROGRAMS)
        for recipe in RECIPE.findall(without_tables((ROOT / name).read_text()))
    }
    assert {"configs/cam.py:data=voc,small", "configs/seam.py:published"} <= set(named)
    for recipe, name in named.items():
        try:
            load_recipe(f"{ROOT}/{recipe}")
        except InputError as error:
            pytest.fail(f"{name}: {error}")


def test_the_losses_of_the_readme():
    (code,) = (
        block
        for block in re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
        if "from hfpl_jax import losses" in block
    )
    code = re.sub(r"^(\w+) = \.\.\..*$", r"assert \1 is not None", code, flags=re.MULTILINE)
    names = {
        "key": jax.random.key(0),
        "logits": jnp.zeros((2, 4, 5, 3)),
        "labels": jnp.array([[1, 0, 1], [0, 1, 0]]),
        "images": jnp.full((2, 4, 5, 3), 0.5),
    }
    exec(code, names)
    # At logits of 0 every term of the classification is log 2, and no score differs.
    assert float(names["loss"]) == pytest.approx(math.log(2), rel=1e-6)
