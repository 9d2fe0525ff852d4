"""A method of one's own is a file, here this one, and a line in the table: the command
runs every stage with it.
"""

import dataclasses
import json
from typing import ClassVar, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from end_to_end import TINY, arguments_of, expected_pictures, pictures, run_as_typed
from test_own_backbone import Toy, ToySettings

import hfpl_jax
from hfpl_jax import __main__, command_line, pipeline
from hfpl_jax.build import make_network, trained_variables
from hfpl_jax.data.dataset import Dataset, decode_image
from hfpl_jax.data.transforms.resample import resize
from hfpl_jax.errors import InputError
from hfpl_jax.inference.cam_record import CamRecord, as_stored
from hfpl_jax.inference.padding import scaled_size
from hfpl_jax.methods import METHODS
from hfpl_jax.methods.merge import upsample
from hfpl_jax.methods.method import Maps, Method
from hfpl_jax.models.backbones import BACKBONES
from hfpl_jax.models.backbones.backbone import Entry
from hfpl_jax.models.preprocess import normalize
from hfpl_jax.runtime.manifest import result_folder
from hfpl_jax.runtime.records import RecordReader
from hfpl_jax.runtime.sharding import local_mesh
from hfpl_jax.setting import above, setting
from hfpl_jax.stages.table import all_stages
from hfpl_jax.training.metric_log import read_rows
from hfpl_jax.training.objective import Prediction


class Output(NamedTuple):
    logits: jax.Array
    background: jax.Array


class MirrorNetwork(nn.Module):
    """Class scores and a score of the background, of features that the batch's own
    statistics normalise.
    """

    backbone: nn.Module
    num_classes: int

    @nn.compact
    def __call__(self, images, sizes=None, train=False):
        x = self.backbone(images, sizes)[self.backbone.head_feature]
        x *= 1.0 + 0.1 * jnp.arange(x.shape[2])[:, None]  # else mirrored images had mirrored maps
        x = nn.BatchNorm(use_running_average=not train, momentum=0.5, name="norm")(x)
        scores = nn.Dense(self.num_classes + 1, name="scores")(x)
        return Output(scores[..., 1:], scores[..., :1])


def mirror_back(maps, widths):
    """[b, h, w, n] of mirrored images, of which only so many columns are no padding."""
    columns = (widths[:, None] - 1 - jnp.arange(maps.shape[2])) % maps.shape[2]
    return jnp.take_along_axis(maps, columns[:, None, :, None], axis=2)


@dataclasses.dataclass(frozen=True)
class Mirror(Method):
    """Mirror images get mirrored maps, the more so the longer it trains; the padding is
    background.
    """

    path: ClassVar[str] = "method.mirror"
    title: ClassVar[str] = "Mirror method"
    fuses_flips: ClassVar[bool] = True
    threshold: ClassVar[float] = 0.0

    ramp: float = setting(2.0, "weight of the mirrored maps at the end", above(0))

    def network(self, backbone, num_classes, *, frozen_batch_norm, dropout):
        return MirrorNetwork(backbone, num_classes)

    def predict(self, apply, batch, key):
        logits, background = apply(batch.images, train=True)
        mirrored = apply(batch.images[:, :, ::-1], train=True).logits[:, :, ::-1]
        padding = 1.0 - batch.valid[:, ::8, ::8, None]
        losses = {
            "classification": self.classification(logits, batch.labels),
            "mirror": jnp.mean(jnp.square(logits - mirrored)),
            "padding": jnp.mean(padding * jax.nn.softplus(-background)),
        }
        weights = {"classification": 1.0, "mirror": self.ramp * batch.progress, "padding": 0.25}
        return Prediction(logits, losses, weights)

    def elements(self, split):
        """A photograph comes once for each of its classes."""
        return [example for example in split for _ in example.labels]

    def maps(self, apply, images, sizes, mirrored=None):
        plain, turned = apply(images, sizes=sizes), apply(mirrored, sizes=sizes)
        widths = -(-sizes[:, 1] // 8)
        both = [
            jnp.maximum(one, mirror_back(other, widths))
            for one, other in zip(plain, turned, strict=True)
        ]
        return Maps(jnp.concatenate(both, axis=-1), plain.logits)

    def merge(self, maps, classes, scaled_sizes, size, output_stride):
        """How far a class beats the background, both about their mean, 0 elsewhere."""
        scores = sum(upsample(*one, size) for one in zip(maps, scaled_sizes, strict=True))
        scores -= scores.mean((0, 1))
        chosen, background = scores[..., classes], scores[..., -1:]
        return np.tanh(np.maximum(chosen - background, 0.0)).astype(np.float32)


@pytest.fixture(autouse=True)
def mirror(monkeypatch):
    monkeypatch.setitem(BACKBONES, "toy", Entry(Toy, ToySettings))
    monkeypatch.setitem(METHODS, "mirror", Mirror)


FIELDS = {path: value for path, value in TINY.items() if not path.startswith("model.")} | {
    "model.backbone": "toy",
    "method.name": "mirror",
    "method.mirror.ramp": 3.0,
    "train.epochs": 1,
    "inference.scales": (0.5, 1.0),
    "run.log_every": 1,
    "run.cam_batch_size": 8,
    "refine.name": "random_walk",
    "refine.random_walk.affinity.epochs": 1,
    "refine.random_walk.affinity.batch_size": 8,
    "refine.random_walk.affinity.crop_size": 48,
    "export.format": "array_record",
    "segmentation.epochs": 1,
    "segmentation.crop_size": 48,
}


def cams_by_hand(network, variables, example):
    """Of one photograph, unpadded and alone, its mirror image mirrored back."""
    photograph = decode_image(example.image, example.file_name)
    base = scaled_size(photograph.shape[:2], 48 / max(photograph.shape[:2]))
    maps, sizes = [], [scaled_size(base, scale) for scale in (0.5, 1.0)]
    for size in sizes:
        scaled = resize(photograph, *size)[None]
        views = [
            network.apply(variables, normalize(jnp.asarray(each), jnp.ones(each.shape[:3], bool)))
            for each in (scaled, scaled[:, :, ::-1])
        ]
        plain, turned = (np.concatenate([*view], axis=-1)[0] for view in views)
        maps.append(np.maximum(plain, turned[:, ::-1]))
    return Mirror().merge(maps, example.labels, sizes, photograph.shape[:2], 8)


@pytest.mark.slow
def test_every_stage(monkeypatch, tmp_path):
    arguments = arguments_of(tmp_path, **FIELDS)
    for change in ("listen", "nothing_left_to_save"):  # signals stay those of the tests
        monkeypatch.setattr(__main__.termination, change, lambda: None)
    __main__.main(arguments)
    config = command_line.parse(arguments).config
    others = {"neighbours", "features", "refinement", "seeds", "mining", "instances"}
    expected = [name for name in pipeline.stage_names() if name not in others]
    assert [stage.name for stage in pipeline.stages_of(config)] == expected
    dataset = Dataset(tmp_path / "data" / "scenes" / "1.0.0")
    train, val = (dataset.split(name) for name in ("train", "val"))

    # Its elements, its loss terms and their weights, one of which follows the progress.
    rows = read_rows(result_folder(tmp_path / "train"))
    steps = sum(len(example.labels) for example in train) // config.train.batch_size
    assert [row["step"] for row in rows] == list(range(1, steps + 1))
    for done, row in enumerate(rows):
        expected = (
            row["classification"]
            + 3.0 * done / steps * row["mirror"]
            + 0.25 * row["padding"]
            + config.hfpl.fsl_weight * row["feature_similarity"]
        )
        assert row["loss"] == pytest.approx(expected, rel=1e-5)
        assert row["mirror"] > 0 < row["padding"]

    # Its network, whose statistics are those of batches, and its maps.
    network = make_network(config, "train", len(dataset.class_names))
    variables = trained_variables(network, tmp_path / "train", local_mesh(8, ""))
    assert np.abs(variables["batch_stats"]["norm"]["mean"]).max() > 1e-3
    records = {
        record.file_name: record
        for record in map(CamRecord.decode, RecordReader(tmp_path / "cams" / "val"))
    }
    assert len(records) == len(val)
    for example in (val[0], val[1]):
        expected = cams_by_hand(network, variables, example)
        found = records[example.file_name].cams
        np.testing.assert_allclose(found, expected, atol=0.5 / 255 + 1e-3)
        assert expected.max() > 0.02

    # Its background: no threshold is looked for.
    metrics = json.loads((tmp_path / "metrics" / "metrics.json").read_text())
    assert metrics["threshold"] == 0.0
    assert metrics["threshold_rule"] == "the method's own background"
    assert metrics["notices"] == [each for each in metrics["notices"] if "threshold" not in each]
    assert "Mirror method" in (tmp_path / "report" / "report.html").read_text()

    # New photographs, from the folder of the training alone.
    loaded = hfpl_jax.load(result_folder(tmp_path / "train"))
    assert (loaded.method, loaded.model.threshold) == (Mirror(ramp=3.0), 0.0)
    pixels, labels = zip(*((example.pixels(), example.labels) for example in val), strict=True)
    for example, cams in zip(val, loaded.cams(pixels, labels), strict=True):
        np.testing.assert_array_equal(as_stored(cams), records[example.file_name].cams)

    expected = expected_pictures(tmp_path, walked=True, segmented=True)
    assert pictures(tmp_path) == expected


def test_its_settings_are_read_where_it_is_chosen(tmp_path):
    train, metrics = (
        next(stage for stage in all_stages() if stage.name == name) for name in ("train", "metrics")
    )
    own, cam = (
        command_line.parse(arguments_of(tmp_path, **fields)).config
        for fields in ({"method.name": "mirror"}, {})
    )
    read = {path for path in train.fields_read(own) if path.startswith("method.")}
    assert read == {"method.name", "method.mirror.pooling", "method.mirror.ramp"}
    assert [path for path in train.fields_read(cam) if path.startswith("method.")] == [
        "method.cam.pooling",
        "method.name",
    ]
    assert metrics.fields_read(own) == ["data.score_split"]


@dataclasses.dataclass(frozen=True)
class Still(Method):
    """Learns from features of photographs of a size that it chooses."""

    path: ClassVar[str] = "method.still"
    title: ClassVar[str] = "Still method"
    frozen: ClassVar[bool] = True

    side: int = setting(64, "of the photographs")
    width: int = setting(8, "of the head")


def test_features_of_a_frozen_backbone_are_those_of_its_settings(monkeypatch, tmp_path):
    """Of all of them, where it does not say which decide what is stored."""
    monkeypatch.setitem(METHODS, "still", Still)
    features = next(stage for stage in all_stages() if stage.name == "features")
    config = command_line.parse(arguments_of(tmp_path, **{"method.name": "still"})).config
    read = {path for path in features.fields_read(config) if path.startswith("method.")}
    assert read == {"method.still.pooling", "method.still.side", "method.still.width"}
    monkeypatch.setattr(Still, "stored_fields", ("side",))
    read = {path for path in features.fields_read(config) if path.startswith("method.")}
    assert read == {"method.still.side"}


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        (
            {"method.mirror.ramp": 3.0},
            r"config\.method\.mirror\.ramp = 3\.0 has no effect: it is read only with "
            r"config\.method\.name = 'mirror'\. Set that too, or leave the field",
        ),
        (
            {"method.name": "mirror", "method.seam.view_scale": 0.5},
            r"config\.method\.seam\.view_scale = 0\.5 has no effect: it is read only with "
            r"config\.method\.name = 'seam'\.",
        ),
        (
            {"method.name": "mirror", "labels.threshold": "0.3"},
            r"config\.labels\.threshold = '0\.3' has no effect: it is read only with a method "
            r"that needs a threshold\.",
        ),
        (
            {"method.name": "mirror", "method.mirror.ramp": 0.0},
            r"config\.method\.mirror\.ramp = 0\.0 must be above 0, such as 2\.0\.",
        ),
        (
            {"method.name": "miror"},
            r"config\.method\.name = 'miror' must be one of cam, drs, group, mctformer, ppc, prm, "
            r"probe, puzzle, seam, sipe, mirror \(did you mean 'mirror'\?\)\.",
        ),
    ],
)
def test_a_slip_is_a_sentence(tmp_path, fields, sentence):
    with pytest.raises(InputError, match=sentence):
        run_as_typed(tmp_path, **fields)


def test_help_shows_the_fields_of_the_chosen_one(capsys):
    command_line.parse(["--config.method.name=mirror", "--help"])
    out = capsys.readouterr().out
    assert "  --config.method.mirror.ramp=2.0\n      weight of the mirrored maps at the end" in out
    assert "config.method.seam" not in out
    command_line.parse(["--help"])
    out = capsys.readouterr().out
    assert "config.method.mirror" not in out
    assert "  --config.method.cam.pooling=mean\n" in out
