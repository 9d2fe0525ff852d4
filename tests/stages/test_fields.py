"""A field that is set and read by nothing is told, with what would make it read."""

import re

import pytest
from end_to_end import recipe

from hfpl_jax.defaults import default_config
from hfpl_jax.errors import InputError
from hfpl_jax.pipeline import all_stages
from hfpl_jax.section import switches
from hfpl_jax.settings import Settings
from hfpl_jax.stages.fields import SWITCHES, check_read, leaves, matches


def check(field, value, switched):
    theirs, ours = default_config(), default_config()
    for config in (theirs, ours):
        config.update_from_flattened_dict(switched)
    ours.update_from_flattened_dict({field: value})
    check_read(ours, theirs, all_stages())


WALK = {"refine.name": "random_walk"}
CRF = {"refine.name": "crf"}
SEGMENTS = {"segmentation.epochs": 1}
CASES = [
    ("refine.random_walk.beta", 16, CRF, WALK, "config.refine.name = 'random_walk'"),
    ("refine.crf.srgb", 13.0, WALK, CRF, "config.refine.name = 'crf'"),
    ("refine.crf.srgb", 13.0, CRF | {"refine.crf.weight": 0.0}, CRF, "config.refine.crf.weight"),
    ("refine.random_walk.crf.srgb", 13.0, CRF, WALK, "config.refine.name = 'random_walk'"),
    (
        "refine.random_walk.crf.srgb",
        13.0,
        WALK | {"refine.random_walk.crf.weight": 0.0},
        WALK,
        "config.refine.random_walk.crf.weight above 0",
    ),
    ("segmentation.crf.algorithm", "exact", {}, SEGMENTS, "config.segmentation.epochs above 0"),
    ("refine.random_walk.affinity.epochs", 3, CRF, WALK, "config.refine.name = 'random_walk'"),
    (
        "refine.random_walk.affinity.alphas",
        (1.0, 9.0),
        CRF,
        WALK,
        "config.refine.name = 'random_walk'",
    ),
    (
        "segmentation.cotraining.epsilon",
        0.1,
        SEGMENTS | {"segmentation.objective": "cycle"},
        SEGMENTS | {"segmentation.objective": "cotraining"},
        "config.segmentation.objective = 'cotraining'",
    ),
    (
        "segmentation.supervised.confidence",
        0.8,
        SEGMENTS,
        SEGMENTS | {"segmentation.supervised.share": 0.5},
        "config.segmentation.supervised.share above 0",
    ),
    ("segmentation.scales", (1.0,), WALK, SEGMENTS, "config.segmentation.epochs above 0"),
    (
        "neighbours.long_side",
        320,
        {},
        {"neighbours.enabled": True},
        "config.neighbours.enabled = True",
    ),
    ("pretrain.jitter", False, {}, {"pretrain.epochs": 1}, "config.pretrain.epochs above 0"),
    ("hfpl.sigma", 5.0, {"hfpl.fsl_weight": 0.0}, {}, "config.hfpl.fsl_weight above 0"),
    ("hfpl.num_samples", 5, {"hfpl.isl_weight": 0.0}, {}, "config.hfpl.isl_weight above 0"),
    ("method.seam.view_scale", 0.5, {}, {"method.name": "seam"}, "config.method.name = 'seam'"),
    ("labels.default_threshold", 0.3, {"labels.threshold": "0.2"}, {}, "config.labels.threshold"),
    ("refine.threshold.ignore_band", (0.1, 0.3), CRF, {}, "config.refine.name = 'threshold'"),
    (
        "model.resnet.version",
        "v1",
        {"model.backbone": "resnet18"},
        {},
        "config.model.backbone = 'resnet50' or 'resnet101'",
    ),
    (
        "model.resnet.version",
        "v1",
        {"model.backbone": "resnet38"},
        {},
        "config.model.backbone = 'resnet18' or 'resnet34' or 'resnet50' or 'resnet101'",
    ),
    (
        "model.resnet.dilation",
        "none",
        {"model.resnet.output_stride": 32},
        {},
        "config.model.resnet.output_stride below 32",
    ),
    (
        "model.resnet38.width",
        8,
        {},
        {"model.backbone": "resnet38"},
        "config.model.backbone = 'resnet38'",
    ),
    ("model.weights", "a.npz", {"train.init_from": "b"}, {}, "a training whose init_from is empty"),
    (
        "segmentation.batch_norm_momentum",
        0.5,
        SEGMENTS | {"segmentation.frozen_batch_norm": True, "model.weights": "a.npz"},
        SEGMENTS | {"segmentation.frozen_batch_norm": True, "model.weights": "random"},
        "config.segmentation.frozen_batch_norm = False",
    ),
    (
        "instances.peak_share",
        0.2,
        {},
        {"instances.enabled": True},
        "config.instances.enabled = True",
    ),
    ("train.freeze_stages", 1, {"model.weights": "random"}, {}, "config.model.weights"),
    ("train.freeze_norms", False, {"model.weights": "random"}, {}, "config.model.weights"),
    (
        "train.adamw.beta2",
        0.99,
        {},
        {"train.optimizer": "adamw"},
        "config.train.optimizer = 'adamw'",
    ),
    (
        "train.sgd.momentum",
        0.5,
        {"train.optimizer": "adamw"},
        {},
        "config.train.optimizer = 'sgd'",
    ),
    (
        "segmentation.sgd.momentum",
        0.5,
        SEGMENTS | {"segmentation.optimizer": "adamw", "train.optimizer": "sgd"},
        SEGMENTS,
        "config.segmentation.optimizer = 'sgd'",
    ),
    (
        "train.poly.power",
        1.0,
        {"train.schedule": "cosine"},
        {},
        "config.train.schedule = 'poly'",
    ),
    ("train.sgd.nesterov", True, {}, {"train.sgd.momentum": 0.9}, "a momentum above 0"),
    (
        "segmentation.lal.k",
        2.0,
        SEGMENTS,
        SEGMENTS | {"segmentation.loss": "lal"},
        "config.segmentation.loss = 'lal'",
    ),
    (
        "segmentation.lal.sigma",
        1.0,
        SEGMENTS | {"segmentation.loss": "lal", "segmentation.lal.mode": "per_class"},
        SEGMENTS | {"segmentation.loss": "lal"},
        "config.segmentation.lal.mode = 'center'",
    ),
    (
        "segmentation.crf.srgb",
        13.0,
        SEGMENTS | {"segmentation.crf.iterations": 0},
        SEGMENTS,
        "config.segmentation.crf.iterations above 0",
    ),
    (
        "segmentation.crf.sxy",
        20.0,
        SEGMENTS | {"segmentation.crf.weight": 0.0},
        SEGMENTS,
        "config.segmentation.crf.weight above 0",
    ),
    (
        "method.ppc.temperature",
        0.2,
        {"method.name": "ppc", "method.ppc.contrast": 0.0},
        {"method.name": "ppc"},
        "config.method.ppc.contrast above 0",
    ),
    (
        "method.puzzle.ramp",
        1.0,
        {"method.name": "puzzle", "method.puzzle.reconstruction": 0.0},
        {"method.name": "puzzle"},
        "config.method.puzzle.reconstruction above 0",
    ),
]


@pytest.mark.parametrize(("field", "value", "unread", "read", "condition"), CASES)
def test_a_field_that_nothing_reads_is_told_with_its_cure(field, value, unread, read, condition):
    with pytest.raises(InputError) as told:
        check(field, value, unread)
    assert str(told.value).startswith(f"config.{field} = {value!r} has no effect: it is read only")
    assert condition in str(told.value)
    check(field, value, read)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("neighbours.enabled", True),
        ("neighbours.enabled", False),
        ("refine.name", "crf"),
        ("segmentation.epochs", 3),
        ("run.num_workers", 2),
        ("data.options", {"size": 64}),
        ("data.score_split", "val"),
        ("profile", "train"),
        ("seed", 4),
        ("export.confidence", False),
        ("report.photographs", 3),
    ],
)
def test_what_always_counts_may_be_set(field, value):
    check(field, value, {})


@pytest.mark.parametrize(
    ("field", "value", "switched"),
    [
        ("segmentation.crf.iterations", 0, SEGMENTS),
        ("segmentation.crf.weight", 0.0, SEGMENTS),
        ("refine.crf.weight", 0.0, CRF),
        ("hfpl.fsl_weight", 0.0, {}),
        ("hfpl.isl_weight", 0.0, {}),
        ("train.weight_decay", 0.0, {}),
        ("model.weights", "random", {}),
        ("labels.threshold", "0.2", {}),
        ("segmentation.frozen_batch_norm", True, SEGMENTS | {"model.weights": "a.npz"}),
    ],
)
def test_what_switches_others_off_is_read_itself(field, value, switched):
    check(field, value, switched)


def test_no_condition_names_a_field_that_needs_it():
    for switch in (*SWITCHES, *switches(Settings)):
        named = re.findall(r"config\.([\w.]*\w)", switch.words)
        assert not [field for field in named if matches(field, switch.fields)], switch.words


def test_what_the_recipe_has_may_stay_unread():
    theirs = recipe("seam", "data=voc,small")
    ours = theirs.copy_and_resolve_references()
    ours.hfpl.fsl_weight, ours.refine.name = 0.0, "crf"
    check_read(ours, theirs, all_stages())  # its sigma and walk_beta are the recipe's
    ours.refine.random_walk.beta += 1
    with pytest.raises(InputError, match=r"leave the field at the recipe's 16\."):
        check_read(ours, theirs, all_stages())


def test_sections_and_patterns_name_fields():
    config = default_config()
    fields = set(leaves(config))
    assert {"seed", "hfpl.mu", "train.clip"} <= fields
    assert {field for field in fields if matches(field, ("hfpl",))} == {
        field for field in fields if field.startswith("hfpl.")
    }
    assert not matches("segmentation.epochs", ("seg", "segmentation.crf*"))
    assert matches("segmentation.crf.iterations", ("segmentation.crf",))
