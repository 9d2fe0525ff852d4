"""The format of the studies: what it was made with, and what is missing in a file."""

import json

import pytest

from experiments import results
from hfpl_jax.errors import InputError
from hfpl_jax.recipe import load_recipe

RUN = {"figures": {"threshold": 0.2}, "seconds": {"train": 60.0}}


def recipe(**fields):
    config = load_recipe("configs/quickstart.py")
    config.update_from_flattened_dict(
        {path.replace("__", "."): value for path, value in fields.items()}
    )
    return config


def test_the_hash_is_of_what_decides_the_figures():
    plain = results.config_hash(recipe())
    same = (
        {"data__directory": "/elsewhere", "data__root": "/there"},
        {"run__num_workers": 3, "run__compilation_cache": "/cache"},
        {"refine__random_walk__affinity__epochs": 9},  # of another refiner
    )
    assert {results.config_hash(recipe(**fields)) for fields in same} == {plain}
    others = (
        {"data__options": {"train_size": 4}},
        {"train__learning_rate": 0.3},
        {"hfpl__isl_weight": 0.3},
        {"model__weights": "/a/one.npz"},
        {"model__weights": "/a/two.npz"},
    )
    assert len({results.config_hash(recipe(**fields)) for fields in others} | {plain}) == 6
    assert results.config_hash(recipe(model__weights="/b/one.npz")) == results.config_hash(
        recipe(model__weights="/a/one.npz")
    )


def test_the_facts_are_those_of_all_manifests():
    made = {"commit": "abc", "machine": "2 cores", "devices": "1 x cpu", "jax": "0.1"}
    manifests = [
        {"made_by": made | {"date": "2026-01-03"}},
        {"made_by": made | {"date": "2026-01-01"}},
        {"made_by": made | {"date": "2026-01-02", "commit": "abb-dirty"}},
    ]
    assert results.facts("configs/quickstart.py", [recipe()], manifests) == {
        "config": "configs/quickstart.py",
        "config_hash": results.config_hash(recipe()),
        "commit": "abb-dirty, abc",
        "machine": "2 cores, 1 x cpu, JAX 0.1",
        "date": "2026-01-01 to 2026-01-03",
    }


def test_what_no_manifest_holds_is_not_recorded():
    found = results.facts("configs/quickstart.py", [recipe()], [{}])
    assert [found[name] for name in ("commit", "machine", "date")] == ["not recorded"] * 3
    assert results.span(["2026-01-03", "not recorded"]) == "2026-01-03, not recorded"


FACTS = dict.fromkeys(results.FACTS, "not recorded")


def test_the_facts_may_stand_beside_the_runs(tmp_path):
    path = tmp_path / "study.json"
    runs = {"GAP": {"0": RUN | {"notices": []}}}
    path.write_text(json.dumps({**FACTS, "runs": runs}))
    whole = results.read(path)
    assert whole == {**FACTS, "runs": runs}
    path.write_text(json.dumps(runs))
    (tmp_path / "study.facts.json").write_text(json.dumps(FACTS))
    assert results.read(path) == whole


BAD = {
    "no file": (None, r"study.json is not readable .*No such file"),
    "no JSON": ("{", r"study.json is not readable"),
    "no object": ("[]", r"study.json holds no object"),
    "runs alone": (json.dumps({"GAP": {"0": RUN}}), r"lacks config, .*, runs.*study.facts.json"),
    "no date": (
        json.dumps({**{name: "" for name in FACTS if name != "date"}, "runs": {}}),
        r'study.json lacks date. Write .* "not recorded" for what is not',
    ),
    "runs in a list": (json.dumps({**FACTS, "runs": [RUN]}), r"runs are not given by row and seed"),
    "no seeds": (json.dumps({**FACTS, "runs": {"GAP": 1}}), r"runs are not given by row and seed"),
    "no figures": (json.dumps({**FACTS, "runs": {"GAP": {"0": {}}}}), r'the run GAP, 0 has no "fi'),
}


@pytest.mark.parametrize("name", BAD)
def test_a_file_that_is_no_study_is_told(name, tmp_path):
    text, message = BAD[name]
    if text is not None:
        (tmp_path / "study.json").write_text(text)
    with pytest.raises(InputError, match=message):
        results.read(tmp_path / "study.json")
