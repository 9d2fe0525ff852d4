"""`--help` behind a recipe: the fields of what it chooses, each with its meaning."""

import re

import pytest
from end_to_end import ROOT, recipe

from hfpl_jax import command_line
from hfpl_jax.errors import InputError
from hfpl_jax.section import fields, value_of
from hfpl_jax.settings import Settings

RESNET = {f"model.resnet.{name}" for name in ("output_stride", "version", "dilation", "width")}
SEAM = {
    f"method.seam.{name}" for name in ("pooling", "view_scale", "peak_floor", "corrected_floor")
}


@pytest.fixture
def shown(capsys):
    """`shown(*arguments)`: dotted name -> (value, meaning), as they are printed."""

    def call(*arguments):
        assert command_line.parse([*arguments, "--help"]) is None
        out = capsys.readouterr().out
        assert max(map(len, out.splitlines())) <= 100
        entry = r"^  --config\.(\S+?)=(.*)\n((?:      .*\n?)+)"
        return {
            path: (value, " ".join(meaning.split()))
            for path, value, meaning in re.findall(entry, out, re.MULTILINE)
        }

    return call


@pytest.mark.parametrize(
    ("name", "switches", "method", "backbone"),
    [
        ("cam", "data=voc", {"method.cam.pooling"}, RESNET),
        ("seam", "data=voc", SEAM, RESNET),
        ("seam", "published", SEAM, {"model.resnet38.width"}),
    ],
)
def test_a_recipe_has_the_fields_of_its_method_and_backbone(
    shown, name, switches, method, backbone
):
    told = shown(f"--config={ROOT / 'configs' / name}.py:{switches}")
    assert {path for path in told if path.startswith("method.")} == {"method.name", *method}
    assert {path for path in told if path.startswith("model.")} == {
        *(
            f"model.{name}"
            for name in ("backbone", "weights", "frozen_batch_norm", "dropout", "suppression")
        ),
        "model.dtype",
        "model.precision",
        *backbone,
    }
    config, known = recipe(name, switches), {path: field for _, path, field in fields(Settings)}
    assert {"seed", "data.root", "hfpl.mu", "train.epochs", "run.num_workers"} <= set(told)
    for path, (value, meaning) in told.items():
        assert value == str(value_of(config.to_dict(), path))
        assert meaning.startswith(" ".join(known[path].metadata["comment"].split()))


def test_the_words_of_a_field(shown):
    told = shown(f"--config={ROOT / 'configs' / 'seam.py'}:small")
    assert told["method.seam.view_scale"] == (
        "0.6",
        "the side of the second view over that of the crop; above 0 and at most 1",
    )
    assert told["train.epochs"] == ("3", "passes over the photographs; at least 1")


@pytest.mark.parametrize(
    "typed",
    [["--config.method.name=seam"], ["--config.method.name", "seam"], ["-config.method.name=seam"]],
)
def test_what_is_typed_is_chosen(shown, typed):
    of_cam = {"method.cam.pooling"}
    assert set(shown()) - of_cam | SEAM == set(shown(*typed)) != set(shown())


def test_a_slip_in_what_is_chosen():
    with pytest.raises(InputError, match=r"config\.method\.name = 'saem' .*did you mean 'seam'"):
        command_line.parse(["--config.method.name=saem", "--help"])
