"""A refiner of one's own is a file, here this one, and a line in the table: the command
runs every stage with it, on the host, on the device, or with a training of its own.
"""

import dataclasses
import io
import json
from typing import ClassVar

import flax.linen as nn
import grain
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from end_to_end import TINY, arguments_of, run_as_typed
from PIL import Image
from test_own_backbone import Toy, ToySettings

from hfpl_jax import __main__, command_line, pipeline
from hfpl_jax.build import (
    build_backbone,
    make_network,
    pretrained_backbone,
    trained_variables,
)
from hfpl_jax.data.dataset import Dataset, decode_image, decode_mask
from hfpl_jax.data.example import Example, encode_mask
from hfpl_jax.data.transforms.affinity_labels import average_pool
from hfpl_jax.errors import InputError
from hfpl_jax.inference.cam_record import CamRecord
from hfpl_jax.masks import IGNORE, label_map
from hfpl_jax.models.backbones import BACKBONES
from hfpl_jax.models.backbones.backbone import Entry
from hfpl_jax.models.convolution import inside
from hfpl_jax.models.preprocess import normalize
from hfpl_jax.refine import REFINERS
from hfpl_jax.refine.background import raised_background
from hfpl_jax.refine.on_device import on_device
from hfpl_jax.refine.patch_affinity import patch_affinity, spread
from hfpl_jax.refine.random_walk import upsample_walked
from hfpl_jax.refine.refiner import DeviceRefiner, HostRefiner, LearningRefiner, Refined
from hfpl_jax.refine.strongest import strongest
from hfpl_jax.runtime.manifest import result_folder
from hfpl_jax.runtime.records import RecordReader
from hfpl_jax.runtime.sharding import local_mesh
from hfpl_jax.setting import above, setting, within
from hfpl_jax.training.metric_log import read_rows
from hfpl_jax.training.objective import Objective, Prediction
from hfpl_jax.training.settings import Training


@dataclasses.dataclass(frozen=True)
class Dark(HostRefiner):
    """Objects are dark: a bright pixel is ignored."""

    path: ClassVar[str] = "refine.dark"

    grey: int = setting(128, "of the brightest pixel that is kept", within(0, 255))

    def refine(self, photograph):
        image, cams, classes, threshold = photograph
        brightest = image.max(axis=-1)
        mask = label_map(cams, classes, threshold=threshold)
        return Refined(np.where(brightest > self.grey, np.uint8(IGNORE), mask), brightest)

    def said(self):
        return f"pixels up to {self.grey}"


@dataclasses.dataclass(frozen=True)
class Mean(DeviceRefiner):
    """The background scores what the photograph's mean colour does."""

    path: ClassVar[str] = "refine.mean"

    traced: ClassVar[list] = []  # a shape for each program

    share: float = setting(0.5, "of the mean colour", above(0))

    def refine(self, batch, apply=None):
        self.traced.append(batch.images.shape)
        within_it = inside(batch.sizes, *batch.images.shape[1:3])[..., None]
        sums = jnp.sum(batch.images * within_it, axis=(1, 2, 3), dtype=jnp.float32)
        mean = sums / (255.0 * 3.0 * batch.sizes.prod(axis=1))
        background = jnp.broadcast_to(self.share * mean[:, None, None], batch.scores.shape[:3])
        return strongest(batch.scores.at[..., 0].set(background), batch.classes)

    def said(self):
        return f"{self.share:g} of the mean"


class GroundNetwork(nn.Module):
    """The logit of "an object" for each cell."""

    backbone: nn.Module

    @nn.compact
    def __call__(self, images, sizes=None, train=False):
        return nn.Dense(1, name="object")(self.backbone(images, sizes)[self.backbone.head_feature])


class GroundLoss(Objective):
    def predict(self, apply, batch, key):
        logits = apply(batch.images, train=True)[..., 0]
        loss = jnp.mean(jax.nn.softplus(jnp.where(batch.labels > 0, -logits, logits)))
        return Prediction(logits, {"ground": loss}, {"ground": 1.0})


@dataclasses.dataclass(frozen=True)
class GroundCrop(grain.transforms.RandomMap):
    size: int
    cell: int

    def random_map(self, element, rng):
        record, example = element
        part = np.s_[: self.size, : self.size]
        labels = decode_mask(record["objects"], "")[part][:: self.cell, :: self.cell]
        image = decode_image(example.image, example.file_name)[part]
        return {"image": image, "valid": np.ones(image.shape[:2], bool), "labels": labels}


@dataclasses.dataclass(frozen=True)
class GroundTraining(Training):
    """Training of the ground's network."""

    path: ClassVar[str] = "refine.ground.learn"
    has_classes: ClassVar[bool] = False


@dataclasses.dataclass(frozen=True)
class Ground(LearningRefiner):
    """A network tells objects from the ground."""

    path: ClassVar[str] = "refine.ground"
    evidence_stage: ClassVar[str] = "objects"
    evidence_fields: ClassVar[tuple[str, ...]] = ("margin",)
    evidence_title: ClassVar[str] = "sure object"
    evidence_cure: ClassVar[str] = "lower --config.refine.ground.margin"
    training: ClassVar[type[GroundTraining]] = GroundTraining
    objective: ClassVar[GroundLoss] = GroundLoss()

    learn: GroundTraining = dataclasses.field(kw_only=True)
    margin: float = setting(0.1, "above the threshold that is sure", within(0, 1))
    weight: float = setting(1.0, "of the network's word", above(0))

    def evidence(self, photograph, *, learnt):
        _, cams, classes, threshold = photograph
        mask = label_map(cams, classes, threshold=threshold + self.margin)
        objects = {"objects": encode_mask((mask > 0).astype(np.uint8))} if learnt else {}
        return Refined(mask, np.zeros_like(mask)), objects

    def network(self, backbone, num_classes, *, frozen_batch_norm):
        return GroundNetwork(backbone)

    def transform(self, cell):
        return GroundCrop(self.learn.crop_size, cell)

    def refine(self, batch, apply=None):
        height, width = batch.images.shape[1:3]
        pixels = normalize(batch.images, inside(batch.sizes, height, width))
        ground = self.weight * nn.sigmoid(-apply(pixels, sizes=batch.sizes))
        scores = batch.scores.at[..., :1].set(ground)
        whole = jnp.repeat(jnp.repeat(scores, 8, axis=1), 8, axis=2)
        return strongest(whole, batch.classes)

    def said(self):
        return "the ground is learnt"


@pytest.fixture(autouse=True)
def own(monkeypatch):
    monkeypatch.setitem(BACKBONES, "toy", Entry(Toy, ToySettings))
    monkeypatch.setattr(Mean, "traced", [])
    for refiner in (Dark, Mean, Ground):
        monkeypatch.setitem(REFINERS, refiner.path.rpartition(".")[2], refiner)


FIELDS = {path: value for path, value in TINY.items() if not path.startswith("model.")} | {
    "model.backbone": "toy",
    "train.epochs": 1,
    "run.cam_batch_size": 8,
}


def made(workdir, split, stage="labels"):
    """(photograph, its CAM record, mask, confidence) of all photographs of a split."""
    dataset = Dataset(workdir / "data" / "scenes" / "1.0.0").split(split)
    cams = {
        record.index: record
        for record in map(CamRecord.decode, RecordReader(workdir / "cams" / split))
    }
    found = list(RecordReader(workdir / stage / split))
    assert sorted(record["index"] for record in found) == list(range(len(dataset)))
    for record in found:
        example, cam = dataset[record["index"]], cams[record["index"]]
        assert record["file_name"] == example.file_name
        assert record["labels"] == cam.classes.tolist()
        maps = (decode_mask(record[name], "") for name in ("mask", "confidence"))
        yield decode_image(example.image, ""), cam, *maps


def by_hand(scores, classes):
    """The strongest label and the lead of its share, of scores [h, w, 1 + n]."""
    shares = np.sort(scores / scores.sum(axis=-1, keepdims=True), axis=-1)
    lead = 255 * (shares[..., -1] - shares[..., -2])
    return np.concatenate([[0], classes + 1])[scores.argmax(axis=-1)], lead


def mean_by_hand(image, cams, classes, share):
    background = np.full((*cams.shape[:2], 1), share * image.mean() / 255)
    return by_hand(np.concatenate([background, cams], axis=-1), classes)


def assert_made(mask, confidence, expected):
    """But for pixels where two scores are next to equal."""
    assert np.mean(mask == expected[0]) > 0.999
    assert np.abs(confidence - expected[1]).max() < 0.6


@pytest.mark.slow
def test_every_stage(monkeypatch, tmp_path):
    for change in ("listen", "nothing_left_to_save"):  # signals stay those of the tests
        monkeypatch.setattr(__main__.termination, change, lambda: None)

    def run(**fields):
        arguments = arguments_of(tmp_path, **FIELDS | fields)
        __main__.main(arguments)
        page = (tmp_path / "report" / "report.html").read_text()
        stages = [stage.name for stage in pipeline.stages_of(command_line.parse(arguments).config)]
        return stages, page, json.loads((tmp_path / "labels" / "metrics.json").read_text())

    stages, page, metrics = run(**{"refine.name": "dark", "refine.dark.grey": 100})
    usual = ["data", "train", "cams", "metrics", "labels", "export", "report"]
    assert stages == usual
    assert "pixels up to 100" in page
    assert {"train/pseudo_label/miou", "val/pseudo_label/miou"} <= metrics.keys()
    threshold = json.loads((tmp_path / "metrics" / "metrics.json").read_text())["threshold"]
    for split in ("train", "val"):
        for image, cam, mask, confidence in made(tmp_path, split):
            brightest = image.max(axis=-1)
            plain = label_map(cam.cams, cam.classes, threshold=threshold)
            np.testing.assert_array_equal(mask, np.where(brightest > 100, 255, plain))
            np.testing.assert_array_equal(confidence, brightest)

    stages, page, _ = run(**{"refine.name": "mean", "refine.mean.share": 0.75})
    assert stages == usual
    assert "0.75 of the mean" in page
    assert len(Mean.traced) == len(set(Mean.traced)) == 2  # config.run.padded_shapes
    for split in ("train", "val"):
        for image, cam, mask, confidence in made(tmp_path, split):
            expected = mean_by_hand(image, cam.cams, cam.classes, 0.75)
            assert_made(mask, confidence, expected)

    stages, page, _ = run(**{"refine.name": "patch_affinity", "refine.patch_affinity.power": 2.0})
    assert stages == usual
    assert "CAMs spread 2 times along the patch affinities" in page
    assert "Masks were made by patch_affinity with a backbone of random numbers" in page
    config = command_line.parse(arguments_of(tmp_path, **FIELDS)).config
    backbone = build_backbone(config)
    variables = pretrained_backbone(config, backbone)
    for image, cam, mask, confidence in made(tmp_path, "val"):
        pixels = normalize(jnp.asarray(image[None]), jnp.ones((1, *image.shape[:2]), bool))
        features = backbone.apply(variables, pixels)[backbone.head_feature]
        share = average_pool(np.ones((*image.shape[:2], 1), np.float32), 8)
        start = raised_background(cam.cams, threshold)[..., 1:]
        pooled = jnp.asarray(average_pool(start, 8) / share)[None]
        spreaded = np.asarray(spread(pooled, patch_affinity(features, power=2.0), times=2))
        scores = np.pad(spreaded, ((0, 0),) * 3 + ((1, 0),), constant_values=max(threshold, 0.1))
        whole = np.asarray(upsample_walked(scores, cell=8))[0, : image.shape[0], : image.shape[1]]
        assert_made(mask, confidence, by_hand(whole, cam.classes))

    ground = {
        "refine.name": "ground",
        "refine.ground.weight": 0.5,
        "refine.ground.learn.epochs": 2,
        "refine.ground.learn.batch_size": 8,
        "refine.ground.learn.crop_size": 48,
        "refine.ground.learn.learning_rate": 0.5,
    }
    stages, page, _ = run(**ground)
    assert stages == [*usual[:4], "objects", "learn", *usual[4:]]
    assert "the ground is learnt" in page
    assert page.index("sure object") < page.index("pseudo-label")
    for _, cam, mask, _ in made(tmp_path, "val", "objects"):
        expected = label_map(cam.cams, cam.classes, threshold=threshold + 0.1)
        np.testing.assert_array_equal(mask, expected)
    config = command_line.parse(arguments_of(tmp_path, **FIELDS | ground)).config
    rows = read_rows(result_folder(tmp_path / "learn"))
    assert rows[-1]["step"] == 2 * 24 // 8
    assert rows[-1]["ground"] < rows[0]["ground"]
    network = make_network(config, "refine.ground.learn", 0)
    variables = trained_variables(network, tmp_path / "learn", local_mesh(8, ""))
    for image, cam, mask, confidence in made(tmp_path, "val"):
        pixels = normalize(jnp.asarray(image[None]), jnp.ones((1, *image.shape[:2]), bool))
        logits = np.asarray(network.apply(variables, pixels))[0]
        height, width, count = cam.cams.shape
        whole = np.pad(cam.cams, ((0, -height % 8), (0, -width % 8), (0, 0)))
        pooled = whole.reshape(*logits.shape[:1], 8, -1, 8, count).mean(axis=(1, 3))
        scores = np.concatenate([0.5 / (1 + np.exp(logits)), pooled], axis=-1)
        enlarged = scores.repeat(8, axis=0).repeat(8, axis=1)[:height, :width]
        assert_made(mask, confidence, by_hand(enlarged, cam.classes))


def png(image):
    file = io.BytesIO()
    Image.fromarray(image).save(file, "PNG")
    return file.getvalue()


class Pairs(list):
    """CAM records, each with its photograph."""

    @property
    def records(self):
        return [record for record, _ in self]


def test_photographs_of_many_sizes_share_few_programs():
    """And what is made of each depends neither on its padding nor on its neighbours."""
    rng, pairs, photographs = np.random.default_rng(0), Pairs(), {}
    for index, (height, width) in enumerate([(20, 30), (33, 90), (64, 64), (70, 40), (9, 31)] * 2):
        image = rng.integers(0, 256, (height, width, 3), np.uint8)
        classes = np.arange(index % 3) + 1
        cams = rng.random((height, width, len(classes)), np.float32)
        record = CamRecord(
            index, f"{index}.png", classes, classes, cams, np.zeros(3, np.float32)
        ).encode()
        photographs[index] = image
        example = Example(f"{index}.png", png(image), classes, None, height, width)
        pairs.append((record, example))
    refined = on_device(
        Mean(share=1.0),
        {"some": pairs},
        threshold=0.2,
        batch_size=8,
        padded_shapes=2,
        mesh=local_mesh(8, ""),
    )
    found = {record.index: (record, made) for record, made in refined("some", {"3.png", "4.png"})}
    assert len(Mean.traced) == len(set(Mean.traced)) == 2
    assert found.keys() == set(range(10)) - {3, 4}
    for index, (record, made) in found.items():
        if len(record.classes):
            expected = mean_by_hand(photographs[index], record.cams, record.classes, 1.0)
            assert_made(made.mask, made.confidence, expected)
        else:
            assert not made.mask.any()
            assert (made.confidence == 255).all()
        assert made.mask.dtype == made.confidence.dtype == np.uint8
        assert made.mask.shape == made.confidence.shape == photographs[index].shape[:2]


def test_its_settings_are_read_where_it_is_chosen(tmp_path):
    def read(name):
        config = command_line.parse(arguments_of(tmp_path, **{"refine.name": name})).config
        return {
            stage.name: {path for path in stage.fields_read(config) if path.startswith("refine.")}
            for stage in pipeline.stages_of(config)
        }

    assert read("dark")["labels"] == {"refine.name", "refine.dark.grey"}
    assert read("threshold")["labels"] == {"refine.name", "refine.threshold.ignore_band"}
    ground = read("ground")
    assert ground["objects"] == {"refine.name", "refine.ground.margin"}
    assert ground["labels"] == {"refine.name", "refine.ground.margin", "refine.ground.weight"}
    assert "refine.ground.learn.epochs" in ground["learn"]
    assert not {path for path in ground["learn"] if "learn" not in path}


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        (
            {"refine.dark.grey": 90},
            r"config\.refine\.dark\.grey = 90 has no effect: it is read only with "
            r"config\.refine\.name = 'dark'\. Set that too, or leave the field",
        ),
        (
            {"refine.name": "mean", "refine.ground.learn.epochs": 9},
            r"config\.refine\.ground\.learn\.epochs = 9 has no effect: it is read only with "
            r"config\.refine\.name = 'ground'\.",
        ),
        (
            {"refine.name": "dark", "refine.dark.grey": 256},
            r"config\.refine\.dark\.grey = 256 must be from 0 to 255, such as 128\.",
        ),
        (
            {"refine.name": "dark", "refine.dark.gray": 90},
            r"There is no field config\.refine\.dark\.gray \(did you mean 'grey'\?\)\. "
            r"config\.refine\.dark has grey;",
        ),
        (
            {"refine.name": "grond"},
            r"config\.refine\.name = 'grond' must be one of threshold, crf, random_walk, "
            r"refinement_learning, par, patch_affinity, superpixels, regions, dark, mean, ground "
            r"\(did you mean 'ground'\?\)\.",
        ),
        (
            {"refine.name": "mean", "run.cam_batch_size": 12},
            r"config\.run\.cam_batch_size = 12 does not divide into 8 devices\.",
        ),
        (
            {"refine.name": "ground", "refine.ground.learn.crop_size": 4},
            r"config\.refine\.ground\.learn\.crop_size = 4 is less than one cell of the network's",
        ),
    ],
)
def test_a_slip_is_a_sentence(tmp_path, fields, sentence):
    with pytest.raises(InputError, match=sentence):
        run_as_typed(tmp_path, **fields)


def test_help_shows_the_fields_of_the_chosen_one(capsys):
    command_line.parse(["--config.refine.name=dark", "--help"])
    out = capsys.readouterr().out
    assert (
        "\nObjects are dark: a bright pixel is ignored.\n  --config.refine.dark.grey=128\n" in out
    )
    assert "config.refine.threshold" not in out
    assert "config.refine.random_walk" not in out
    command_line.parse(["--help"])
    assert "config.refine.dark" not in capsys.readouterr().out
