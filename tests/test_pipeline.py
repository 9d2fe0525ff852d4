"""Which stages run, and why; the stages themselves are replaced by ones that only note
that they ran.
"""

import dataclasses
import json

import pytest

from hfpl_jax import pipeline
from hfpl_jax.defaults import default_config
from hfpl_jax.errors import InputError

AFTER_DATA = ["train", "cams", "metrics", "labels", "export", "report"]


@pytest.fixture
def config():
    config = default_config()
    config.data.options = {"train_size": 2, "val_size": 1, "size": 48}
    config.model.weights = "random"
    return config


@pytest.fixture(scope="module")
def data_directory(tmp_path_factory):
    return tmp_path_factory.mktemp("data")


@pytest.fixture
def run(monkeypatch, tmp_path, config, data_directory):
    """`run()` -> names of the stages that ran; `run.fail` names one that breaks after
    half its work, `run.noticed` those that leave a notice; `run.said` is what was said.
    """
    config.data.directory = str(data_directory)
    ran = []

    def recorder(name):
        def stage(context):
            ran.append(name)
            with open(context.folder / "work", "a") as file:
                file.write(f"{context.config.seed}\n")
            call.contexts[name] = context
            if name == call.fail:
                raise KeyboardInterrupt
            notices = {"notices": [f"{name} says so."]} if name in call.noticed else {}
            return {"fact": name, **notices}

        return stage

    monkeypatch.setattr(
        pipeline,
        "STAGES",
        tuple(dataclasses.replace(stage, run=recorder(stage.name)) for stage in pipeline.STAGES),
    )

    def call(*stages):
        ran.clear()
        call.said = pipeline.run(config, tmp_path, stages or pipeline.STAGE_NAMES).notices
        return list(ran)

    call.fail, call.noticed, call.contexts = None, (), {}
    return call


def test_a_finished_stage_is_skipped(run, tmp_path):
    assert run() == AFTER_DATA
    assert run() == []
    manifest = json.loads((tmp_path / "labels" / "manifest.json").read_text())
    assert manifest["done"] is True
    assert manifest["facts"] == {"fact": "labels"}
    assert manifest["config"]["hfpl"]["isl_weight"] == 0.2
    assert set(manifest["parents"]) == {"data", "cams", "metrics"}


@pytest.mark.parametrize(
    ("field", "value", "again"),
    [
        ("seed", 1, AFTER_DATA),
        ("train.learning_rate", 0.5, AFTER_DATA),
        ("hfpl.fsl_weight", 0.0, AFTER_DATA),
        ("model.output_stride", 32, AFTER_DATA),
        ("data.train_split", "val", AFTER_DATA),
        ("data.val_split", "", AFTER_DATA[1:]),
        ("data.label_split", "val", AFTER_DATA[1:]),
        ("inference.flip", False, AFTER_DATA[1:]),
        ("labels.threshold", "0.3", ["metrics", "labels", "export", "report"]),
        ("data.score_split", "train", ["metrics", "labels", "export", "report"]),
        ("labels.ignore_band", (0.1, 0.4), ["labels", "export", "report"]),
        ("export.format", "png", ["export"]),
        ("report.photographs", 3, ["report"]),
        ("run.cam_batch_size", 16, []),
        ("run.checkpoint_every", 7, []),
        ("run.num_workers", 2, []),
    ],
)
def test_a_changed_field_repeats_what_reads_it_and_what_follows(run, config, field, value, again):
    config.data.allow_overlap = True  # val takes the place of train below
    run()
    config.update_from_flattened_dict({field: value})
    assert run() == again
    assert run() == []


def test_every_field_belongs_to_a_stage(config):
    """A field that no fingerprint holds would change a result in silence."""
    owned = [field for stage in pipeline.STAGES for field in stage.fields]
    by_the_dataset = {
        "data.name",
        "data.root",
        "data.directory",
        "data.options",
        "data.on_bad_record",
        "data.mask_mismatches",
        "data.allow_overlap",
    }
    for section, content in config.items():
        fields = (
            [f"{section}.{name}" for name in content] if hasattr(content, "items") else [section]
        )
        for field in fields:
            assert (
                section in ("run", "profile")
                or field in by_the_dataset
                or field in owned
                or section in owned
            ), field


def test_changed_photographs_repeat_everything(run, config, tmp_path):
    config.data.directory = ""
    run()
    config.data.options.train_size = 3
    assert run() == AFTER_DATA
    assert (tmp_path / "data" / "scenes").is_dir()


def test_an_earlier_network_is_set_aside_and_other_results_go(run, config, tmp_path):
    run()
    fingerprint = json.loads((tmp_path / "train" / "manifest.json").read_text())["fingerprint"]
    config.seed = 5
    run()
    assert (tmp_path / f"train-{fingerprint}" / "work").read_text() == "0\n"
    assert (tmp_path / "train" / "work").read_text() == "5\n"
    assert (tmp_path / "cams" / "work").read_text() == "5\n"
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(
        [*AFTER_DATA, f"train-{fingerprint}"]
    )


def test_an_interrupted_stage_goes_on_in_its_folder(run, tmp_path):
    run.fail = "cams"
    with pytest.raises(KeyboardInterrupt):
        run()
    assert json.loads((tmp_path / "cams" / "manifest.json").read_text())["done"] is False
    run.fail = None
    assert run() == AFTER_DATA[1:]
    assert (tmp_path / "cams" / "work").read_text() == "0\n0\n"


def test_an_interrupted_stage_of_another_configuration_starts_anew(run, config, tmp_path):
    run.fail = "labels"
    with pytest.raises(KeyboardInterrupt):
        run()
    run.fail = None
    config.labels.ignore_band = (0.2, 0.6)
    assert run() == ["labels", "export", "report"]
    assert (tmp_path / "labels" / "work").read_text() == "0\n"


def test_a_kill_while_a_folder_is_removed_leaves_no_old_records(run, config, tmp_path, monkeypatch):
    run()
    remove = pipeline.shutil.rmtree

    def killed(path, **options):
        if "cams" in str(path) and path.exists():
            (path / "manifest.json").unlink()  # what a removal happens to begin with
            raise KeyboardInterrupt
        remove(path, **options)

    config.inference.flip = False
    config.seed = 2
    with monkeypatch.context() as patch:
        patch.setattr(pipeline.shutil, "rmtree", killed)
        with pytest.raises(KeyboardInterrupt):
            run()
    run()
    assert (tmp_path / "cams" / "work").read_text() == "2\n"
    assert not list(tmp_path.glob("*.incomplete"))


def test_a_configuration_has_the_stages_it_asks_for(run, config):
    assert run() == AFTER_DATA
    config.refine.method = "crf"
    assert run() == ["crf", "labels", "export", "report"]
    config.refine.method = "random_walk"
    assert run() == ["crf", "affinity", "labels", "export", "report"]
    config.export.format = "array_record"
    config.segmentation.epochs = 1
    assert run() == ["export", "segmentation", "predictions", "report"]
    config.affinity.learning_rate *= 2
    assert run() == ["affinity", "labels", "export", "segmentation", "predictions", "report"]
    config.refine.method, config.segmentation.epochs = "", 0
    assert run() == ["labels", "export", "report"]


def test_trained_networks_are_set_aside(run, config, tmp_path):
    config.update_from_flattened_dict(
        {"refine.method": "random_walk", "export.format": "array_record", "segmentation.epochs": 1}
    )
    run()
    config.seed = 5
    run()
    aside = sorted(path.name.split("-")[0] for path in tmp_path.iterdir() if "-" in path.name)
    assert aside == ["affinity", "segmentation", "train"]


def test_some_stages_only(run):
    assert run("train", "cams") == ["train", "cams"]
    assert run("metrics") == ["metrics"]
    assert run("labels", "cams") == ["labels"]


@pytest.mark.parametrize("stage", AFTER_DATA[1:])
def test_a_missing_input_names_the_stage_to_add(run, tmp_path, stage):
    with pytest.raises(
        InputError,
        match=rf"The stage {stage} needs the result of \w+, which is missing"
        r".*Add \w+ to --stages\.",
    ):
        run(stage)
    assert not (tmp_path / stage).exists()


def test_an_input_of_another_configuration(run, config):
    run()
    config.seed = 1
    with pytest.raises(
        InputError,
        match=r"The stage cams needs the result of train, .*of another configuration"
        ".*Add train to --stages",
    ):
        run("cams")


def test_an_unfinished_input(run):
    run.fail = "train"
    with pytest.raises(KeyboardInterrupt):
        run()
    with pytest.raises(
        InputError, match=r"needs the result of train, which is missing, unfinished"
    ):
        run("cams")


def test_unknown_stage(run):
    with pytest.raises(
        InputError, match=r"Unknown stages \['trian'\] in --stages\. Known are data, train, cams"
    ):
        run("trian")


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"fingerprint": "0"}'])
def test_a_damaged_manifest(run, tmp_path, content):
    run()
    (tmp_path / "cams" / "manifest.json").write_text(content)
    with pytest.raises(InputError, match=r"cams/manifest\.json is not readable.*Delete the folder"):
        run()


def test_files_of_somebody_else_are_left_alone(run, tmp_path):
    (tmp_path / "labels").mkdir()
    (tmp_path / "labels" / "mine.txt").write_text("precious")
    with pytest.raises(
        InputError, match=r"labels holds files, but no manifest\.json.*another --workdir"
    ):
        run()
    assert (tmp_path / "labels" / "mine.txt").read_text() == "precious"


def test_a_kill_before_the_first_manifest(run, tmp_path):
    (tmp_path / "train").mkdir()
    (tmp_path / "train" / "manifest.json.incomplete").write_text("{")
    assert run() == AFTER_DATA


def test_a_late_stage_s_slip_is_told_before_the_first(run, config):
    config.export.format = "tfrecords"
    with pytest.raises(InputError, match=r"did you mean 'tfrecord'"):
        run("train")


def test_notices_are_said_in_order_and_again_when_all_is_done(run):
    run.noticed = ("train", "metrics", "report")
    sentences = ("train says so.", "metrics says so.", "report says so.")
    assert run() == AFTER_DATA
    assert run.said == sentences
    assert run.contexts["report"].notices == sentences[:2]  # what the report can show
    assert run() == []
    assert run.said == sentences


def test_stages_that_were_not_asked_for_say_their_notices_as_well(run):
    run.noticed = ("train", "metrics")
    run()
    assert run("report", "export") == []
    assert run.said == ("train says so.", "metrics says so.")


def test_notices_of_another_configuration_are_not_said(run, config):
    run.noticed = ("train", "metrics")
    run()
    config.seed, run.noticed = 1, ()
    assert run("train") == ["train"]
    assert run.said == ()


def test_a_stage_is_told_which_stages_this_configuration_has(run, config):
    config.refine.method = "crf"
    run()
    assert "crf" in run.contexts["report"].reads
    config.refine.method = ""
    run()
    assert "crf" not in run.contexts["report"].reads  # though its folder is still there


def test_what_is_scored_is_looked_at_before_anything_is_trained(run, config, tmp_path):
    config.data.score_split = "val"
    with pytest.raises(InputError, match=r"config\.data\.score_split = 'val' is to be a part of"):
        run()
    assert not (tmp_path / "train").exists()
