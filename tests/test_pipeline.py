"""Which stages run, and why; the stages themselves are replaced by ones that only note
that they ran.
"""

import dataclasses
import json
import os
import platform

import pytest

from hfpl_jax import pipeline
from hfpl_jax.defaults import default_config
from hfpl_jax.errors import InputError
from hfpl_jax.runtime import distributed, manifest, workdir_lock
from hfpl_jax.runtime.manifest import result_folder
from hfpl_jax.stages.fields import check_read, leaves

AFTER_DATA = ["train", "cams", "metrics", "labels", "export", "report"]
REFINED = ["labels", "export", "report"]
CRF = {"refine.name": "crf"}
WALK = {"refine.name": "random_walk"}
PAR = {"refine.name": "par"}
PATCHES = {"refine.name": "patch_affinity"}
SEGMENTS = {"segmentation.epochs": 1, "export.formats": ("array_record",)}


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

    stages = tuple(
        dataclasses.replace(stage, run=recorder(stage.name), content_read=None, after=None)
        for stage in pipeline.all_stages()
    )
    monkeypatch.setattr(pipeline, "all_stages", lambda: stages)

    def call(*stages):
        ran.clear()
        call.said = pipeline.run(config, tmp_path, stages or None).notices
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


def test_what_a_stage_leaves_beside_a_training_comes_back_where_it_is_done(
    run, monkeypatch, tmp_path
):
    left = []

    def leaves(stage):
        after = {"metrics": lambda context: left.append(context.folder)}.get(stage.name)
        return dataclasses.replace(stage, after=after)

    stages = tuple(map(leaves, pipeline.all_stages()))
    monkeypatch.setattr(pipeline, "all_stages", lambda: stages)
    run.fail = "metrics"
    with pytest.raises(KeyboardInterrupt):
        run()
    assert left == []
    run.fail = None
    assert run() == AFTER_DATA[2:]
    assert run() == []
    assert run("report") == []
    assert left == 3 * [tmp_path / "metrics"]


@pytest.mark.parametrize(
    ("field", "value", "again"),
    [
        ("seed", 1, AFTER_DATA),
        ("train.learning_rate", 0.5, AFTER_DATA),
        ("hfpl.fsl_weight", 0.0, AFTER_DATA),
        ("model.resnet.output_stride", 32, AFTER_DATA),
        ("data.train_split", "val", AFTER_DATA),
        ("data.val_split", "", AFTER_DATA[1:]),
        ("data.label_split", "val", AFTER_DATA[1:]),
        ("inference.flip", False, AFTER_DATA[1:]),
        ("labels.threshold", "0.3", ["metrics", "labels", "export", "report"]),
        ("data.score_split", "train", ["metrics", "labels", "export", "report"]),
        ("refine.threshold.ignore_band", (0.1, 0.4), ["labels", "export", "report"]),
        ("export.formats", ("png", "voc"), ["export"]),
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


@pytest.mark.parametrize(
    ("switched", "field", "value", "again"),
    [
        ({}, "method.seam.view_scale", 0.5, []),
        ({"method.name": "seam"}, "method.seam.view_scale", 0.5, AFTER_DATA),
        ({"hfpl.isl_weight": 0.0}, "hfpl.num_samples", 3, []),
        ({}, "hfpl.num_samples", 3, AFTER_DATA),
        ({"hfpl.fsl_weight": 0.0}, "hfpl.mu", 9.0, []),
        ({"hfpl.fsl_weight": 0.0}, "hfpl.sigma", 9.0, []),
        ({"hfpl.fsl_weight": 0.0}, "hfpl.window", 9, []),
        ({}, "hfpl.mu", 9.0, AFTER_DATA),
        ({"model.backbone": "resnet18"}, "model.resnet.version", "v1", []),
        ({}, "model.resnet.version", "v1", AFTER_DATA),
        ({"model.backbone": "resnet38"}, "model.resnet.output_stride", 32, []),
        ({"model.resnet.output_stride": 32}, "model.resnet.dilation", "none", []),
        ({"train.weight_decay": 0.0}, "train.no_decay", ("/bias$",), []),
        ({}, "train.no_decay", ("/bias$",), AFTER_DATA),
        ({"labels.threshold": "0.3"}, "labels.default_threshold", 0.4, []),
        ({}, "labels.default_threshold", 0.4, ["metrics", "labels", "export", "report"]),
        ({}, "refine.crf.iterations", 3, []),
        (CRF, "refine.crf.iterations", 3, REFINED),
        (CRF, "refine.random_walk.beta", 3, []),
        (CRF, "refine.random_walk.affinity.alphas", (1.0, 9.0), []),
        (CRF, "refine.random_walk.affinity.learning_rate", 0.5, []),
        (CRF | {"refine.crf.weight": 0.0}, "refine.crf.sxy", 9.0, []),
        (WALK, "refine.crf.iterations", 3, []),
        (WALK, "refine.random_walk.crf.iterations", 3, ["crf", "affinity", *REFINED]),
        (WALK, "refine.random_walk.beta", 3, REFINED),
        (
            WALK,
            "refine.random_walk.affinity.learning_rate",
            0.5,
            ["affinity", *REFINED],
        ),
        (
            WALK,
            "refine.random_walk.affinity.alphas",
            (1.0, 9.0),
            ["crf", "affinity", *REFINED],
        ),
        (PAR, "refine.par.steps", 3, REFINED),
        (PAR, "refine.patch_affinity.power", 2.0, []),
        (PATCHES, "refine.patch_affinity.power", 2.0, REFINED),
        (WALK | SEGMENTS, "segmentation.scales", (1.0,), ["predictions", "report"]),
        (WALK | SEGMENTS, "segmentation.long_side", 99, ["predictions", "report"]),
        (WALK | SEGMENTS, "segmentation.crf.iterations", 3, ["predictions", "report"]),
        (SEGMENTS, "segmentation.crf.algorithm", "exact", ["predictions", "report"]),
        (SEGMENTS | {"segmentation.crf.iterations": 0}, "segmentation.crf.algorithm", "exact", []),
        (SEGMENTS, "segmentation.crop_size", 99, ["segmentation", "predictions", "report"]),
        ({}, "segmentation.crop_size", 99, []),
        ({}, "profile", "cams", []),
    ],
)
def test_a_field_counts_where_it_is_read(run, config, switched, field, value, again):
    config.update_from_flattened_dict(switched)
    run()
    config.update_from_flattened_dict({field: value})
    assert run() == again


@pytest.mark.parametrize("field", ["model.dropout", "model.frozen_batch_norm"])
def test_what_is_the_classifiers_own_trains_no_other_network(config, field):
    """Its CAMs are other ones, and so is all that follows; were they the same,
    AffinityNet would be too.
    """
    config.update_from_flattened_dict(WALK | SEGMENTS)
    config.model.weights = "a.safetensors"
    by_name = {stage.name: stage for stage in pipeline.all_stages()}
    reading = [name for name, stage in by_name.items() if field in stage.fields_read(config)]
    assert reading == ["train"]
    for name in ("train", "affinity", "segmentation"):
        stage = by_name[name]
        assert {"model.backbone", "model.weights", f"{stage.training}.crop_size"} <= set(
            stage.fields_read(config)
        )


def test_the_backbone_counts_for_masks_that_are_made_with_it(config):
    """Also where no training starts from it."""
    config.train.init_from = "runs/a/train"
    recipe, config.model.weights = config.copy_and_resolve_references(), "b.npz"
    [labels] = [stage for stage in pipeline.all_stages() if stage.name == "labels"]
    assert not {path for path in labels.fields_read(config) if path.startswith("model.")}
    with pytest.raises(InputError, match=r"config\.model\.weights = 'b\.npz' has no effect"):
        check_read(config, recipe, pipeline.all_stages())
    for each in (config, recipe):
        each.refine.name = "patch_affinity"
    read = {path for path in labels.fields_read(config) if path.startswith("model.")}
    assert {"model.backbone", "model.weights", "model.resnet.output_stride"} <= read
    assert not {"model.dropout", "model.dtype", "model.vit.depth"} & read
    check_read(config, recipe, pipeline.all_stages())


def test_every_field_belongs_to_a_stage(config):
    """A field that no fingerprint holds would change a result in silence."""
    for field in leaves(config):
        assert field.startswith(("run.", "profile", "data.")) or any(
            stage.names(field, config) for stage in pipeline.all_stages()
        ), field
    for split in ("train_split", "label_split", "score_split", "val_split"):
        assert any(stage.names(f"data.{split}", config) for stage in pipeline.all_stages())
    assert not any(
        stage.names(field, config)
        for stage in pipeline.all_stages()
        for field in leaves(config)
        if field.startswith(("run.", "profile"))
    )


def test_another_version_of_a_stage_s_code_is_another_result(run, monkeypatch):
    run()
    newer = tuple(
        dataclasses.replace(stage, version=stage.version + 1) if stage.name == "metrics" else stage
        for stage in pipeline.all_stages()
    )
    monkeypatch.setattr(pipeline, "all_stages", lambda: newer)
    assert run() == ["metrics", "labels", "export", "report"]


def test_changed_photographs_repeat_everything(run, config, tmp_path):
    config.data.directory = ""
    run()
    config.data.options.train_size = 3
    assert run() == AFTER_DATA
    assert (tmp_path / "data" / "scenes").is_dir()


def test_an_earlier_training_is_kept_and_found_again_and_other_results_go(run, config, tmp_path):
    run()
    first = result_folder(tmp_path / "train")
    config.seed = 5
    assert run() == AFTER_DATA
    second = result_folder(tmp_path / "train")
    assert (first / "work").read_text() == "0\n"
    assert (second / "work").read_text() == (tmp_path / "cams" / "work").read_text() == "5\n"
    config.seed = 0
    assert run() == AFTER_DATA[1:]
    assert result_folder(tmp_path / "train") == first
    assert (first / "work").read_text() == "0\n"
    assert (tmp_path / "cams" / "work").read_text() == "0\n"
    assert {path.name for path in tmp_path.iterdir()} == set(AFTER_DATA)
    assert {path.name for path in (tmp_path / "train").iterdir()} == {
        first.name,
        second.name,
        "wanted.json",
    }


def test_a_training_that_was_left_for_another_goes_on_where_it_was(run, config, tmp_path):
    run.fail = "train"
    with pytest.raises(KeyboardInterrupt):
        run()
    run.fail, config.seed = None, 5
    run()
    config.seed = 0
    assert run("train") == ["train"]
    assert (result_folder(tmp_path / "train") / "work").read_text() == "0\n0\n"


def test_a_stage_that_reads_a_training_reads_the_one_of_its_configuration(run, config, tmp_path):
    run()
    first = result_folder(tmp_path / "train")
    config.seed = 5
    run("train")
    assert result_folder(tmp_path / "train") != first
    config.seed = 0
    assert run("cams", "metrics") == []
    assert result_folder(tmp_path / "train") == first


def test_all_kinds_of_trainings_are_kept(run, config, tmp_path):
    config.update_from_flattened_dict(WALK | SEGMENTS)
    run()
    config.seed = 5
    trained = {"train", "affinity", "segmentation"}
    assert trained <= set(run())
    config.seed = 0
    assert not trained & set(run())
    for name in trained:
        assert (result_folder(tmp_path / name) / "work").read_text() == "0\n"
        assert len(list((tmp_path / name).iterdir())) == 3


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
    config.refine.threshold.ignore_band = (0.2, 0.6)
    assert run() == ["labels", "export", "report"]
    assert (tmp_path / "labels" / "work").read_text() == "0\n"


@pytest.mark.parametrize("seed_after", [2, 3])
def test_a_kill_while_a_folder_is_emptied_leaves_no_old_records(
    run, config, tmp_path, monkeypatch, seed_after
):
    run()
    (tmp_path / "cams" / "val").mkdir()
    (tmp_path / "cams" / "val" / "records").write_text("old")

    def killed(path):
        raise KeyboardInterrupt

    config.seed = 2
    with monkeypatch.context() as patch:
        patch.setattr(manifest.shutil, "rmtree", killed)
        with pytest.raises(KeyboardInterrupt):
            run()
    assert json.loads((tmp_path / "cams" / "manifest.json").read_text())["done"] is False
    config.seed = seed_after
    run()
    assert (tmp_path / "cams" / "work").read_text() == f"{seed_after}\n"
    assert not (tmp_path / "cams" / "val").exists()
    assert not list(tmp_path.rglob("*.incomplete"))


def test_a_configuration_has_the_stages_it_asks_for(run, config):
    assert run() == AFTER_DATA
    config.refine.name = "crf"
    assert run() == ["labels", "export", "report"]
    config.refine.name = "random_walk"
    assert run() == ["crf", "affinity", "labels", "export", "report"]
    config.export.formats = ("array_record",)
    config.segmentation.epochs = 1
    assert run() == ["export", "segmentation", "predictions", "report"]
    config.refine.random_walk.affinity.learning_rate *= 2
    assert run() == ["affinity", "labels", "export", "segmentation", "predictions", "report"]
    config.refine.name, config.segmentation.epochs = "threshold", 0
    assert run() == ["labels", "export", "report"]
    config.instances.enabled = True
    assert run() == ["instances", "export", "report"]
    config.instances.peak_share = 0.25
    assert run() == ["instances", "export", "report"]
    config.refine.name = "crf"
    assert run() == ["labels", "instances", "export", "report"]


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
        InputError,
        match=r"Unknown stages \['trian'\] in --stages\. Known are data, pretrain, neighbours, "
        "features, train",
    ):
        run("trian")


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"fingerprint": "0"}'])
def test_a_damaged_manifest(run, tmp_path, content):
    run()
    (tmp_path / "cams" / "manifest.json").write_text(content)
    with pytest.raises(InputError, match=r"cams/manifest\.json is not readable.*Delete the folder"):
        run()


def test_files_of_somebody_else_are_not_touched(run, tmp_path):
    (tmp_path / "labels").mkdir()
    (tmp_path / "labels" / "mine.txt").write_text("precious")
    with pytest.raises(
        InputError, match=r"labels holds files, but no manifest\.json.*another --workdir"
    ):
        run()
    assert (tmp_path / "labels" / "mine.txt").read_text() == "precious"


def test_a_kill_before_the_first_manifest(run, tmp_path):
    (tmp_path / "cams").mkdir()
    (tmp_path / "cams" / "manifest.json.incomplete").write_text("{")
    assert run() == AFTER_DATA


def test_a_late_stage_s_slip_is_told_before_the_first(run, config):
    config.export.formats = ("tfrecords",)
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
    config.refine.name = "random_walk"
    run()
    assert "crf" in run.contexts["report"].reads
    config.refine.name = "threshold"
    run()
    assert "crf" not in run.contexts["report"].reads  # though its folder is still there


def test_what_is_scored_is_looked_at_before_anything_is_trained(run, config, tmp_path):
    config.data.score_split = "val"
    with pytest.raises(InputError, match=r"config\.data\.score_split = 'val' is to be a part of"):
        run()
    assert not (tmp_path / "train").exists()


def test_a_second_command_in_the_workdir_changes_nothing(run, config, tmp_path, monkeypatch):
    run()
    other = config.copy_and_resolve_references()
    other.seed = 9
    told = []

    def meanwhile(context):
        before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
        with pytest.raises(InputError) as error:
            pipeline.run(other, tmp_path)
        told.append(str(error.value))
        assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before
        return {}

    stages = tuple(
        dataclasses.replace(stage, run=meanwhile) if stage.name == "cams" else stage
        for stage in pipeline.all_stages()
    )
    monkeypatch.setattr(pipeline, "all_stages", lambda: stages)
    config.inference.flip = False
    run()
    [sentence] = told
    assert f"is in use by process {os.getpid()} on {platform.node()}" in sentence
    assert not (tmp_path / "lock.json").exists()


def test_of_several_processes_the_first_alone_takes_the_workdir(run, tmp_path, monkeypatch):
    run()
    monkeypatch.setattr(distributed, "is_first", lambda: False)
    monkeypatch.setattr(distributed, "meet", lambda: None)
    with workdir_lock.held(tmp_path):  # by the first one
        assert run() == []


def test_what_traces_nothing_cannot_be_traced(run, config):
    config.profile = "metrics"
    with pytest.raises(
        InputError, match=r"'metrics' names a stage that traces nothing.*train, cams"
    ):
        run()
    config.profile = "labels"
    with pytest.raises(InputError, match="'labels' names a stage that traces nothing"):
        run()
    config.update_from_flattened_dict(WALK)
    run()
    config.profile = "predictions"
    with pytest.raises(InputError, match="'predictions' names a stage that traces nothing"):
        run()


def test_a_field_that_the_recipe_does_not_set_and_nothing_reads(config, tmp_path):
    recipe = config.copy_and_resolve_references()
    config.refine.random_walk.beta = 16
    with pytest.raises(InputError, match=r"config\.refine\.random_walk\.beta = 16 has no effect"):
        pipeline.run(config, tmp_path / "run", recipe=recipe)
    assert not (tmp_path / "run").exists()
