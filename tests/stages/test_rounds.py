"""Rounds: which stages there are, what they read, and which of them run again."""

import dataclasses
import json
import re

import pytest

from hfpl_jax import pipeline
from hfpl_jax.defaults import default_config
from hfpl_jax.errors import InputError
from hfpl_jax.runtime.manifest import result_folder
from hfpl_jax.settings import Settings
from hfpl_jax.stages.context import Context
from hfpl_jax.stages.fields import check_read
from hfpl_jax.stages.rounds import scores_of_rounds, table_of_rounds

FIRST = ["train", "cams", "metrics", "labels", "export", "segmentation", "predictions"]
AGAIN = FIRST[1:]


def later(number, names=AGAIN):
    return [f"round{number}/{name}" for name in names]


@pytest.fixture(scope="module")
def data_directory(tmp_path_factory):
    return tmp_path_factory.mktemp("data")


@pytest.fixture
def config(data_directory):
    config = default_config()
    config.data.directory = str(data_directory)
    config.data.options = {"train_size": 2, "val_size": 1, "size": 48}
    config.update_from_flattened_dict(
        {
            "model.weights": "random",
            "export.format": "array_record",
            "segmentation.epochs": 1,
            "rounds": 2,
        }
    )
    return config


@pytest.fixture
def run(monkeypatch, tmp_path, config):
    """`run()` -> names of the stages that ran, which only noted it; `run.fail` names one
    that is killed; `run.contexts` what they were given.
    """
    ran, stages_of = [], pipeline.stages_of

    def noting(stage):
        def work(context):
            ran.append(stage.name)
            call.contexts[stage.name] = context
            with open(context.folder / "work", "a") as file:
                file.write(f"{context.config.seed}\n")
            if stage.name == call.fail:
                raise KeyboardInterrupt
            return {"notices": [f"{stage.name} says so."]}

        return dataclasses.replace(stage, run=work, content_read=None, after=None)

    monkeypatch.setattr(pipeline, "stages_of", lambda config: list(map(noting, stages_of(config))))

    def call(*stages):
        ran.clear()
        call.said = pipeline.run(config, tmp_path, stages or None).notices
        return list(ran)

    call.fail, call.contexts = None, {}
    return call


def test_a_round_begins_with_what_the_network_before_sees(config):
    config.update_from_flattened_dict({"rounds": 3, "refine.name": "random_walk"})
    reads = {stage.name: stage.reads for stage in pipeline.stages_of(config)}
    assert reads["cams"] == ("data", "train")
    assert reads["round2/cams"] == ("data", "segmentation")
    assert reads["round3/cams"] == ("data", "round2/segmentation")
    own = {
        name.removeprefix("round3/"): [each.removeprefix("round3/") for each in read]
        for name, read in reads.items()
        if name.startswith("round3/")
    }
    del own["cams"]
    assert own == {name: list(reads[name]) for name in own}
    assert list(own) == [name for name in list(reads)[3:] if "/" not in name and name != "report"]
    assert list(reads)[-1] == "report"
    assert {"round2/predictions", "round3/metrics", "round3/labels"} <= set(reads["report"])


def test_instances_are_those_of_the_first_round(config):
    config.instances.enabled = True
    reads = {stage.name: stage.reads for stage in pipeline.stages_of(config)}
    assert "instances" in reads["export"]
    assert reads["round2/export"] == ("data", "round2/labels")
    assert "round2/instances" not in reads


def test_one_round_is_the_pipeline_as_it_was(run, config):
    config.rounds = 1
    assert run() == [*FIRST, "report"]


@pytest.mark.parametrize(
    ("field", "value", "again"),
    [
        ("run.cam_batch_size", 16, []),
        ("seed", 3, [*FIRST, *later(2), "report"]),
        ("refine.name", "crf", [*FIRST[3:], *later(2), "report"]),
        ("inference.flip", False, [*FIRST[1:], *later(2), "report"]),
        ("segmentation.scales", (1.0,), ["predictions", *later(2), "report"]),
        ("rounds", 3, [*later(3), "report"]),
        ("rounds", 1, ["report"]),
        ("export.confidence", False, [*FIRST[4:], *later(2), "report"]),
    ],
)
def test_a_changed_field_repeats_what_reads_it_and_what_follows(run, config, field, value, again):
    assert run() == [*FIRST, *later(2), "report"]
    assert run() == []
    config.update_from_flattened_dict({field: value})
    assert run() == again
    assert run() == []


def test_a_stage_of_a_round_by_its_name(run, config):
    assert run(*FIRST) == FIRST
    assert run("round2/cams", "round2/metrics") == later(2)[:2]
    with pytest.raises(InputError, match=r"The stage round2/export needs the result of round2/l"):
        run("round2/export")
    with pytest.raises(InputError, match=r"Unknown stages \['round3/cams'\].*, round2/cams, "):
        run("round3/cams")


def test_where_the_stages_of_a_round_look(run, config, tmp_path):
    """Those of their own round lie beside them, under the names of the first."""
    config.rounds = 3
    run()
    labels = run.contexts["round3/labels"]
    assert labels.workdir == tmp_path / "round3"
    assert labels.folder == tmp_path / "round3" / "labels"
    assert (labels.round, labels.first) == (3, tmp_path)
    assert labels.of_round(1).workdir == tmp_path
    assert labels.of_round(2).workdir == tmp_path / "round2"
    trained = run.contexts["round2/segmentation"].folder
    assert trained == result_folder(tmp_path / "round2" / "segmentation")
    assert trained.parent == tmp_path / "round2" / "segmentation"
    assert run.contexts["report"].workdir == tmp_path


def test_a_killed_round_goes_on_where_it_was(run, tmp_path):
    run.fail = "round2/labels"
    with pytest.raises(KeyboardInterrupt):
        run()
    run.fail = None
    assert run() == [*later(2)[2:], "report"]
    assert (tmp_path / "round2" / "labels" / "work").read_text() == "0\n0\n"


def test_a_notice_says_its_round(run):
    run()
    assert "labels says so." in run.said
    assert "Round 2: round2/labels says so." in run.said


def test_a_training_of_a_round_is_kept_and_found_again(run, config, tmp_path):
    run()
    first = result_folder(tmp_path / "round2" / "segmentation")
    config.seed = 3
    run()
    config.seed = 0
    again = run()
    assert not {"train", "segmentation", "round2/segmentation"} & set(again)
    assert result_folder(tmp_path / "round2" / "segmentation") == first


def test_seeds_of_later_rounds_are_of_later_rounds(config):
    config.refine.name = "regions"
    recipe = config.copy_and_resolve_references()
    config.refine.regions.sure_later = (0.1, 0.9)
    check_read(config, recipe, pipeline.all_stages())
    config.rounds = recipe.rounds = 1
    with pytest.raises(InputError, match=r"sure_later = .* only with config\.rounds above 1\. Set"):
        check_read(config, recipe, pipeline.all_stages())


def test_rounds_ask_for_a_final_network(config):
    config.segmentation.epochs = 0
    with pytest.raises(InputError) as told:
        Settings.of(config)
    assert str(told.value) == (
        "config.rounds = 2 asks for rounds of a final network, but config.segmentation.epochs is "
        "0. Set that to the passes over the pseudo-labels, such as 30, or config.rounds to 1."
    )


@pytest.mark.parametrize("rounds", [0, -1])
def test_there_is_a_round(config, rounds):
    config.rounds = rounds
    with pytest.raises(InputError, match=rf"config\.rounds = {rounds} must be at least 1"):
        Settings.of(config)


def test_the_scores_of_all_rounds(tmp_path, config):
    written = {
        "metrics": {"train/cam/miou": 0.3},
        "labels": {"train/pseudo_label/miou": 0.4},
        "predictions": {"val/segmentation/miou": 0.35},
        "round2/metrics": {"train/cam/miou": 0.5, "val/cam/miou": 0.45},
        "round2/predictions": {"val/segmentation/miou": 0.375},
    }
    for stage, metrics in written.items():
        (tmp_path / stage).mkdir(parents=True)
        (tmp_path / stage / "metrics.json").write_text(json.dumps(metrics))
    scores = scores_of_rounds(Context(config, tmp_path, tmp_path / "report"))
    assert scores == {
        "round 1": {"train/cam": 0.3, "train/pseudo_label": 0.4, "val/segmentation": 0.35},
        "round 2": {"train/cam": 0.5, "val/cam": 0.45, "val/segmentation": 0.375},
    }
    head, *lines = table_of_rounds(scores).splitlines()
    assert re.split(r"  +", head) == [
        "mIoU, %", "train/cam", "train/pseudo_label", "val/segmentation", "val/cam"
    ]  # fmt: skip
    assert [line.split() for line in lines] == [
        ["round", "1", "30.0", "40.0", "35.0", "-"],
        ["round", "2", "50.0", "-", "37.5", "45.0"],
    ]
    config.rounds = 1
    assert scores_of_rounds(Context(config, tmp_path, tmp_path / "report")) == {}
