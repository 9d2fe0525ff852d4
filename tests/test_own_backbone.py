"""A backbone of one's own is a file, here this one, and a line in the table: the
command runs every stage with it.
"""

import dataclasses
from typing import ClassVar

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
import pytest
from end_to_end import ROOT, TINY, arguments_of, expected_pictures, pictures, run_as_typed
from jax.typing import DTypeLike

from hfpl_jax import __main__, command_line, pipeline
from hfpl_jax.build import make_network, trained_variables
from hfpl_jax.errors import InputError
from hfpl_jax.models.backbones import BACKBONES
from hfpl_jax.models.backbones.backbone import BackboneSettings, Entry
from hfpl_jax.models.convolution import mask_padding
from hfpl_jax.models.weights.names import DENSE, Layer, Names
from hfpl_jax.recipe import load_recipe
from hfpl_jax.runtime.sharding import local_mesh
from hfpl_jax.setting import at_least, setting
from hfpl_jax.stages.table import all_stages
from hfpl_jax.training.settings import stage_of


@dataclasses.dataclass(frozen=True)
class ToySettings(BackboneSettings):
    """The toy."""

    path: ClassVar[str] = "model.toy"

    channels: int = setting(4, "of each feature", at_least(1))


class Toy(nn.Module):
    """Means over 8x8 pixels and two dense layers, without batch normalisation."""

    channels: int = 4
    dtype: DTypeLike = jnp.float32
    output_stride: ClassVar[int] = 8
    strides: ClassVar[dict[str, int]] = {"means": 8, "first": 8, "second": 8}
    head_feature: ClassVar[str] = "second"
    middle_features: ClassVar[tuple[str, str]] = ("means", "first")
    stages: ClassVar[tuple[str, ...]] = ("first", "second")
    weight_names: ClassVar[tuple[Names, ...]] = (Names({r"(\w+)": Layer(r"fc.\1", kernel=DENSE)}),)

    @nn.compact
    def __call__(self, images, sizes=None, use_running_average=True, deterministic=True):
        x = mask_padding(images.astype(self.dtype), sizes)
        rows, columns = (-side % 8 for side in x.shape[1:3])
        x = jnp.pad(x, ((0, 0), (0, rows), (0, columns), (0, 0)))
        features = {"means": nn.avg_pool(x, (8, 8), strides=(8, 8))}
        for before, name in (("means", "first"), ("first", "second")):
            dense = nn.Dense(self.channels, dtype=self.dtype, name=name)
            features[name] = nn.relu(dense(features[before]))
        return features


@pytest.fixture(autouse=True)
def toy(monkeypatch):
    monkeypatch.setitem(BACKBONES, "toy", Entry(Toy, ToySettings))


SHORT = {path: value for path, value in TINY.items() if not path.startswith("model.")}
CHOSEN = {"model.backbone": "toy", "model.toy.channels": 6}
TRAININGS = ("train", "refine.random_walk.affinity", "segmentation")
ALL_STAGES = {
    "method.name": "seam",
    "train.epochs": 1,
    "refine.name": "random_walk",
    "refine.random_walk.affinity.epochs": 1,
    "refine.random_walk.affinity.batch_size": 8,
    "refine.random_walk.affinity.crop_size": 48,
    "export.formats": ("array_record",),
    "segmentation.epochs": 1,
    "segmentation.crop_size": 48,
    "run.cam_batch_size": 8,
    **{f"{training}.freeze_stages": 1 for training in TRAININGS},
}


@pytest.mark.slow
def test_every_stage(monkeypatch, tmp_path):
    """From a weight file, whose arrays are where the backbone's table puts them."""
    rng = np.random.default_rng(0)
    shapes = {
        "fc.first.weight": (6, 3),
        "fc.first.bias": (6,),
        "fc.second.weight": (6, 6),
        "fc.second.bias": (6,),
    }
    arrays = {name: rng.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}
    np.savez(tmp_path / "toy.npz", **arrays)
    weights = {"model.weights": tmp_path / "toy.npz"}
    arguments = arguments_of(tmp_path / "run", **SHORT | CHOSEN | ALL_STAGES | weights)
    for change in ("listen", "nothing_left_to_save"):  # signals stay those of the tests
        monkeypatch.setattr(__main__.termination, change, lambda: None)
    __main__.main(arguments)

    config = command_line.parse(arguments).config
    others = {"pretrain", "neighbours", "features"}  # not asked for
    others |= {"refinement", "seeds", "mining", "instances"}
    expected = [name for name in pipeline.stage_names() if name not in others]
    assert [stage.name for stage in pipeline.stages_of(config)] == expected
    for training in TRAININGS:
        network = make_network(config, training, 8)
        assert network.backbone == Toy(channels=6)
        mesh = local_mesh(8, "")
        params = trained_variables(network, tmp_path / "run" / stage_of(training), mesh)["params"]
        first = params["backbone"]["first"]  # frozen
        np.testing.assert_array_equal(first["kernel"], arrays["fc.first.weight"].T)
        np.testing.assert_array_equal(first["bias"], arrays["fc.first.bias"])
        second = params["backbone"]["second"]["kernel"]
        moved = np.abs(second - arrays["fc.second.weight"].T).max()
        assert 0.0 < moved < 1.0
    workdir = tmp_path / "run"
    assert pictures(workdir) == expected_pictures(workdir, walked=True, segmented=True)


def test_its_settings_are_read_where_it_is_chosen(tmp_path):
    train = next(stage for stage in all_stages() if stage.name == "train")
    read = {
        name: {path for path in train.fields_read(config) if path.startswith("model.")}
        for name, config in (
            ("toy", command_line.parse(arguments_of(tmp_path, **CHOSEN)).config),
            ("resnet18", load_recipe(str(ROOT / "configs" / "quickstart.py"))),
        )
    }
    shared = {
        "model.backbone",
        "model.weights",
        "model.dropout",
        "model.dtype",
        "model.precision",
        "model.suppression",
    }
    assert read["toy"] == shared | {"model.toy.channels"}
    assert read["resnet18"] == shared | {
        f"model.resnet.{name}" for name in ("output_stride", "width", "dilation")
    }


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        (
            {"model.toy.channels": 6},
            r"config\.model\.toy\.channels = 6 has no effect: it is read only with "
            r"config\.model\.backbone = 'toy'\. Set that too, or leave the field",
        ),
        (
            CHOSEN | {"model.resnet.width": 16},
            r"config\.model\.resnet\.width = 16 has no effect: it is read only with "
            r"config\.model\.backbone = 'resnet18' or 'resnet34' or 'resnet50' or 'resnet101'\.",
        ),
        (
            CHOSEN | {"model.toy.channels": 0},
            r"config\.model\.toy\.channels = 0 must be at least 1, such as 4\.",
        ),
        (
            {"model.toy.chanels": 6},
            r"There is no field config\.model\.toy\.chanels \(did you mean 'channels'\?\)\. "
            r"config\.model\.toy has channels;",
        ),
        (
            {"model.backbone": "toi"},
            r"config\.model\.backbone = 'toi' must be one of resnet18, .*, clip_base16, toy "
            r"\(did you mean 'toy'\?\)\.",
        ),
    ],
)
def test_a_slip_is_a_sentence(tmp_path, fields, sentence):
    with pytest.raises(InputError, match=sentence):
        run_as_typed(tmp_path, **fields)


def test_help_shows_the_fields_of_the_chosen_one(capsys):
    command_line.parse(["--config.model.backbone=toy", "--help"])
    out = capsys.readouterr().out
    assert "\nThe toy.\n  --config.model.toy.channels=4\n      of each feature; at least 1\n" in out
    assert "config.model.resnet" not in out
    command_line.parse(["--help"])
    out = capsys.readouterr().out
    assert "config.model.toy" not in out
    assert "  --config.model.resnet.version=v1.5\n" in out
