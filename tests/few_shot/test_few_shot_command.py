"""`python -m hfpl_jax.few_shot` with the backbone of a finished run of random numbers."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from finished_run import LABELS, name_of, photographs, variables_of, write_photographs, write_run
from PIL import Image

from hfpl_jax.data.label_file import read_label_file
from hfpl_jax.errors import InputError
from hfpl_jax.few_shot import __main__ as command
from hfpl_jax.few_shot.network import of_file, of_run
from hfpl_jax.losses.few_shot import mean_prototypes, prototype_logits
from hfpl_jax.models.backbones.resnet import ResNet
from hfpl_jax.models.preprocess import normalize
from hfpl_jax.runtime import console

ONE_EACH = "file_name,labels\na/0.png,cat\n3.png,traffic light\n4.png,dog\n2.png,background\n"
SMALL = ["--weights=random", "--backbone=resnet18", "--setting=width=8"]


@pytest.fixture(scope="module")
def given(tmp_path_factory):
    folder = tmp_path_factory.mktemp("given")
    write_run(folder / "run")
    write_photographs(folder / "photographs")
    (folder / "examples.csv").write_text(ONE_EACH)
    return folder


@pytest.fixture
def main(monkeypatch, given):
    monkeypatch.setattr(console, "set_up", lambda: None)

    def call(word, *arguments, network=("--run=run",)):
        monkeypatch.chdir(given)
        command.main([word, "--photographs=photographs", *network, *map(str, arguments)])

    return call


def pooled():
    """The mean of the last feature of each photograph, seen alone."""
    variables = variables_of("train")
    inner = {name: part["backbone"] for name, part in variables.items()}
    forward, found = jax.jit(ResNet(18, 8, width=8).apply), {}
    for index, pixels in enumerate(photographs()):
        image = normalize(jnp.asarray(pixels[None]), np.ones((1, *pixels.shape[:2]), bool))
        found[name_of(index)] = np.asarray(forward(inner, image)["layer4"].mean((0, 1, 2)))
    return found


@pytest.mark.slow
def test_every_photograph_gets_the_label_of_the_nearest_example(main, given, tmp_path, capsys):
    main("label", "--examples=examples.csv", f"--output={tmp_path / 'labels.csv'}")
    said = capsys.readouterr().out
    features, names = pooled(), ("cat", "traffic light", "dog", "background")
    shown = ("a/0.png", "3.png", "4.png", "2.png")
    prototypes = mean_prototypes(np.stack([features[name] for name in shown]), np.arange(4), 4)
    nearest = np.argmax(prototype_logits(np.stack(list(features.values())), prototypes), axis=1)
    expected = dict(zip(features, (names[place] for place in nearest), strict=True))
    content = read_label_file(tmp_path / "labels.csv")
    assert content.class_names == ("cat", "dog", "traffic light")
    found = {
        entry.file_name: content.class_names[entry.labels[0]] if entry.labels else "background"
        for entry in content.entries
    }
    assert found == expected
    assert {name: found[name] for name in shown} == dict(zip(shown, names, strict=True))
    assert "4 examples, and of 3 others" in said
    assert "A prototype gives each photograph the one class" in said


@pytest.mark.slow
def test_accuracy_is_written_with_what_was_left_out(main, given, tmp_path, capsys):
    rows = [f"{name_of(index)},{';'.join(shown)}" for index, shown in enumerate(LABELS) if shown]
    (tmp_path / "labels.csv").write_text("\n".join(["file_name,labels", *rows, "6.png,dog"]))
    asked = ["--ways=2", "--queries=1", "--episodes=3", f"--labels={tmp_path / 'labels.csv'}"]
    with pytest.raises(SystemExit):
        main("accuracy", *asked)
    said = capsys.readouterr().err
    assert "Episodes of 2 classes need 6 photographs of each that show it alone" in said
    for copy in range(12):
        Image.fromarray(photographs()[copy % 7]).save(given / "photographs" / f"more{copy}.png")
    more = [f"more{copy}.png,{'dog' if copy % 2 else 'cow'}" for copy in range(12)]
    (tmp_path / "labels.csv").write_text("\n".join(["file_name,labels", *rows, *more]))
    main("accuracy", *asked, f"--output={tmp_path / 'found.json'}", network=SMALL)
    found = json.loads((tmp_path / "found.json").read_text())
    assert found["classes"] == ["cow", "dog"]
    assert found["too_few"] == {"cat": 1, "traffic light": 1}
    assert (found["photographs"], found["several"]) == (13, 2)
    assert set(found["accuracy"]) == {"1", "5"}
    assert 0.0 <= found["accuracy"]["5"]["mean"] <= 1.0
    assert "2 photographs that show several classes were left out" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["lable"], "The first word is 'lable': write label or accuracy (did you mean 'label'?)."),
        (["label", "--examples=examples.csv"], "--output is missing. The file to write"),
        (["accuracy"], "--labels is missing."),
        (["accuracy", "--labels=a.csv", "--examples=b.csv"], "--examples is an option of label."),
        (["accuracy", "--labels=a.csv", *SMALL], "Give one of --run, a finished run, and"),
        (["label", "--examples=examples.csv", "--output=examples.csv"], "examples.csv exists."),
        (["label", "--examples=examples.csv", "--output=a.csv", "x"], "Unknown argument 'x'"),
    ],
)
def test_a_slip_is_one_sentence(arguments, sentence, main, capsys):
    with pytest.raises(SystemExit) as ended:
        main(*arguments)
    assert ended.value.code == 2
    said = capsys.readouterr().err
    assert sentence in said
    assert said.count("\n") == 2


@pytest.mark.parametrize(
    ("backbone", "given", "sentence"),
    [
        ("resnet5", [], r"--backbone=resnet5 must be one of .*did you mean 'resnet50'"),
        (
            "resnet18",
            ["verson=v1"],
            r"verson=v1 names no setting .*did you mean 'version'",
        ),
        ("resnet18", ["width=a"], r"--setting=width=a needs a number, such as width=64"),
        ("resnet18", ["version=v2"], r"version = 'v2' must be one of v1, v1\.5"),
    ],
)
def test_a_backbone_that_is_not_there_is_told(backbone, given, sentence):
    with pytest.raises(InputError, match=sentence):
        of_file("random", backbone, given, long_side=None, batch_size=1)


def test_a_run_without_a_training_is_told(tmp_path):
    with pytest.raises(InputError, match="holds no finished training of a classifier"):
        of_run(str(tmp_path), long_side=None, batch_size=1)
