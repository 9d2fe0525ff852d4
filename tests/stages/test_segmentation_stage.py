"""The final network's training, on an export of photographs that are confident or not."""

import logging

import jax
import numpy as np
import pytest
from end_to_end import tiny
from tiny_datasets import jpeg

from hfpl_jax.build import build_final_networks, trained_variables
from hfpl_jax.errors import InputError
from hfpl_jax.export import PseudoLabel, export
from hfpl_jax.runtime.sharding import local_mesh
from hfpl_jax.stages import segmentation
from hfpl_jax.stages.context import Context


def context_of(folder, sure, **fields):
    """Of eight photographs, of which so many are confident."""
    pixels = np.arange(20 * 30).reshape(20, 30)
    labels = [
        PseudoLabel(
            f"{index}.jpg",
            jpeg(index),
            (index % 2,),
            np.where(pixels % 7 < 3, 0, 1 + index % 2).astype(np.uint8),
            np.where(pixels % 4 < (3 if index < sure else 1), 255, 0).astype(np.uint8),
        )
        for index in range(8)
    ]
    folders = {"array_record": folder / "export" / "array_record"}
    export(labels, folders, class_names=["cat", "dog"], split="train")
    small = {
        "model.resnet.width": 4,
        "segmentation.epochs": 1,
        "segmentation.batch_size": 8,
        "segmentation.crop_size": 32,
        "segmentation.cycle.width": 2,
        "segmentation.cycle.blocks": 1,
        **{f"segmentation.{name.replace('__', '.')}": value for name, value in fields.items()},
    }
    config = tiny()
    config.update_from_flattened_dict(small)
    (folder / "stage").mkdir()
    return Context(config, folder, folder / "stage")


CASES = {
    "none": (0, "None of the 8 photographs", "none is labelled. Set one of the two lower."),
    "all": (8, "Every one of the 8 photographs", "higher, or config.segmentation.objective to"),
}


@pytest.mark.parametrize("objective", ["cotraining", "cycle"])
@pytest.mark.parametrize("case", CASES)
def test_without_labelled_or_unlabelled_photographs_nothing_is_trained(tmp_path, objective, case):
    sure, begins, ends = CASES[case]
    with pytest.raises(InputError) as told:
        segmentation.run(context_of(tmp_path, sure, objective=objective))
    message = str(told.value)
    assert message.startswith(
        f"{begins} in {tmp_path / 'export' / 'array_record'} has a confidence above 0.9 on 0.5"
    )
    assert f"(config.segmentation.{objective}.confidence and .share)" in message
    assert ends in message
    assert not list((tmp_path / "stage").iterdir())


SOURCES = {
    "supervised": {},
    "cotraining": {"labelled": 5, "unlabelled": 3},
    "cycle": {"unlabelled": 3},
}


@pytest.mark.parametrize("objective", SOURCES)
def test_which_photographs_an_objective_learns_from(tmp_path, objective, monkeypatch):
    jobs = []
    monkeypatch.setattr(segmentation, "fit", lambda job, *_, **__: jobs.append(job) or {"steps": 1})
    facts = segmentation.run(
        context_of(
            tmp_path, 5, objective=objective, supervised__share=0.5, supervised__confidence=0.9
        )
    )
    assert facts == {"steps": 1, "labelled": 5, "unlabelled": 3}
    [job] = jobs
    assert [example.file_name for example in job.source] == [f"{index}.jpg" for index in range(5)]
    assert {name: len(each.elements) for name, each in job.beside.items()} == SOURCES[objective]
    for each in job.beside.values():
        made = each.transform.random_map(each.elements[0], np.random.default_rng(0))
        assert ("labels" in made) == (each is job.beside.get("labelled"))


@pytest.mark.slow
def test_it_learns_from_both_kinds(tmp_path, caplog):
    context = context_of(tmp_path, 5, objective="cycle")
    with caplog.at_level(logging.INFO):
        facts = segmentation.run(context)
    assert {name: facts[name] for name in ("steps", "labelled", "unlabelled")} == {
        "steps": 1,
        "labelled": 5,
        "unlabelled": 3,
    }
    assert "5 photographs are labelled, 3 are unlabelled." in caplog.text
    network = build_final_networks(context.config, 2)
    mesh = local_mesh(8, "config.run.cam_batch_size")
    variables = trained_variables(network, context.folder, mesh)
    assert set(variables["params"]) == set(network.members)
    logits = jax.jit(network.apply)(variables, np.zeros((1, 32, 32, 3), np.float32))
    assert np.isfinite(logits).all()
