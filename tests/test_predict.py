"""`python -m hfpl_jax.predict` on a finished run of two small networks."""

import json
import shutil
import signal
import socket
import subprocess
import sys
import types

import numpy as np
import pytest
import tensorflow_datasets as tfds
from end_to_end import ROOT, environment, finished, until
from finished_run import (
    CLASSES,
    LABELS,
    SIZES,
    change,
    name_of,
    photographs,
    write_labels,
    write_photographs,
    write_run,
)
from PIL import ExifTags, Image

import hfpl_jax
from hfpl_jax import label_photographs, predict
from hfpl_jax.data.example import Example
from hfpl_jax.export import FORMATS
from hfpl_jax.instance import decode_rle
from hfpl_jax.refine.background import threshold_background
from hfpl_jax.runtime.manifest import read_manifest
from hfpl_jax.runtime.records import RecordReader, RecordWriter

NAMES = sorted(name_of(index) for index in range(len(SIZES)))


@pytest.fixture(scope="module")
def given(tmp_path_factory):
    """A folder with a run, photographs and labels."""
    folder = tmp_path_factory.mktemp("given")
    write_run(folder / "run")
    write_photographs(folder / "photographs")
    write_labels(folder / "labels.csv")
    return folder


@pytest.fixture
def main(monkeypatch, given):
    """The command in this process, on the photographs above if no others are named."""
    for name in ("listen", "nothing_left_to_save"):  # signals stay those of the tests
        monkeypatch.setattr(predict.termination, name, lambda: None)

    def call(*arguments, photographs=given / "photographs"):
        predict.main(
            [f"--run={given / 'run'}", f"--photographs={photographs}", *map(str, arguments)]
        )

    return call


@pytest.fixture
def refused(main, capsys):
    """What is said, in one line, of a command that ends with status 2."""

    def call(*arguments, **options):
        with pytest.raises(SystemExit) as ended:
            main(*arguments, **options)
        assert ended.value.code == 2
        said = capsys.readouterr().err.split("\nhfpl_jax: ")[-1]
        assert said.count("\n") == 1
        return said

    return call


@pytest.fixture(scope="module")
def expected(given):
    """`expected(network, labels)`: file name -> what Python's face makes of it."""

    def predictions(network, labels=None):
        trained = hfpl_jax.load(given / "run", network)
        shown = labels and [labels[NAMES_TO_INDEX[name]] for name in NAMES]
        paths = [given / "photographs" / name for name in NAMES]
        return dict(zip(NAMES, trained.predict(paths, shown), strict=True))

    return predictions


NAMES_TO_INDEX = {name_of(index): index for index in range(len(SIZES))}


def pixels_of(path):
    with Image.open(path) as picture:
        return np.array(picture)


def test_masks_as_png_of_the_final_network(main, given, expected, tmp_path, capsys):
    output = tmp_path / "masks"
    main(f"--output={output}")
    assert capsys.readouterr().out == f"Masks:   {output / 'predictions'}\n"
    for name, made in expected("segmentation").items():
        png = name.replace(".jpg", ".png")
        np.testing.assert_array_equal(pixels_of(output / "predictions/masks" / png), made.mask)
        certainty = pixels_of(output / "predictions/confidence" / png)
        np.testing.assert_array_equal(certainty, made.confidence)
    assert {path.name for path in output.iterdir()} == {"manifest.json", "predictions"}
    assert read_manifest(output)["facts"]["photographs"] == len(NAMES)
    before = {path: path.stat().st_mtime_ns for path in output.rglob("*")}
    main(f"--output={output}")  # all of it is done
    assert {path: path.stat().st_mtime_ns for path in output.rglob("*")} == before


@pytest.mark.parametrize("format", ["tfrecord", "array_record"])
def test_an_export_of_cams_that_tfds_loads(main, given, expected, tmp_path, capsys, format):
    main(
        f"--output={tmp_path}",
        f"--labels={given / 'labels.csv'}",
        "--network=cam",
        f"--format={format}",
    )
    assert "Notice" not in capsys.readouterr().out
    builder = tfds.builder_from_directory(tmp_path)
    assert builder.info.features["labels"].feature.names == list(CLASSES)
    examples = list(builder.as_data_source("predictions")) if format == "array_record" else None
    if examples is None:
        from grain.experimental import TFRecordIterDataset

        (shard,) = tmp_path.glob("*.tfrecord-*")
        features = builder.info.features
        examples = [
            features.deserialize_example_np(each) for each in TFRecordIterDataset(str(shard))
        ]
    made = expected("cam", LABELS)
    assert [example["file_name"].decode() for example in examples] == NAMES
    for example, name in zip(examples, NAMES, strict=True):
        index = NAMES_TO_INDEX[name]
        assert [CLASSES[label] for label in example["labels"]] == list(LABELS[index])
        np.testing.assert_array_equal(example["segmentation_mask"][..., 0], made[name].mask)
        np.testing.assert_array_equal(example["confidence"][..., 0], made[name].confidence)
        np.testing.assert_array_equal(example["image"], photographs()[index])


@pytest.mark.parametrize("network", ["cam", "segmentation"])
def test_instances_are_regions_of_the_masks(main, given, expected, tmp_path, network):
    run, output = tmp_path / "run", tmp_path / "masks"
    shutil.copytree(given / "run", run)
    peaks = {"peak_threshold": 0.0, "peak_share": 0.5}
    change(run / "train" / "0a" / "model.json", instances=peaks)
    asked = (f"--labels={given / 'labels.csv'}", f"--network={network}", "--format=coco")
    main(f"--run={run}", f"--output={output}", *asked, "--instances")
    content = json.loads((output / "predictions.instances.json").read_text())
    names = {image["id"]: image["file_name"] for image in content["images"]}
    assert sorted(names.values()) == NAMES
    made = expected(network, LABELS)
    assert content["annotations"]
    for found in content["annotations"]:
        name = names[found["image_id"]]
        label = found["category_id"] - 1
        assert CLASSES[label] in LABELS[NAMES_TO_INDEX[name]]
        region = decode_rle(found["segmentation"])
        assert region.any()
        assert (made[name].mask[region] == label + 1).mean() > 0.99  # a batch rounds differently
        assert found["score"] > 0
    assert not (output / "unfinished").exists()
    main(f"--run={run}", f"--output={tmp_path / 'plain'}", *asked)
    assert not (tmp_path / "plain" / "predictions.instances.json").exists()


def test_cams_without_labels_say_how_the_threshold_was_chosen(main, expected, tmp_path, capsys):
    main(f"--output={tmp_path}", "--network=cam", "--format=coco", "--refine=crf")
    out = capsys.readouterr().out
    assert "The background threshold 0.40 (best mIoU on the masks of training photographs)" in out
    assert "belongs to CAMs of given image labels" in out
    assert "a probability above 0.50, which finds the labels of training photographs with an F1 of "
    content = json.loads((tmp_path / "predictions.json").read_text())
    made = expected("cam")
    for image in content["images"]:
        assert tuple(label - 1 for label in image["category_ids"]) == (
            made[image["file_name"]].classes
        )
    assert [image["file_name"] for image in content["images"]] == NAMES


def test_a_background_of_the_methods_own_is_not_said_to_be_chosen():
    model = types.SimpleNamespace(
        network="cam",
        threshold=0.5,
        threshold_rule="the method's own background",
        image_labels="given image labels",
        class_cut=0.5,
        class_cut_f1=0.9,
    )
    [notice] = predict._notices(types.SimpleNamespace(model=model), given=False)
    assert notice.startswith(
        "The background threshold 0.50 (the method's own background) belongs to CAMs of given "
        "image labels. Here nobody says"
    )
    assert "chosen" not in notice


def odd_photographs(folder):
    """One that is turned, one of 16 bits, one that is no picture."""
    folder.mkdir()
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    Image.fromarray(photographs()[0]).save(folder / "turned.jpg", exif=exif)
    grey = np.linspace(0, 65535, 40 * 50).reshape(40, 50).astype(np.uint16)
    Image.fromarray(grey).save(folder / "deep.png")
    (folder / "broken.jpg").write_bytes(b"no picture")
    (folder / "notes.txt").write_text("no photograph")
    return folder


def test_odd_photographs_and_one_that_cannot_be_read(main, refused, tmp_path):
    folder, output = odd_photographs(tmp_path / "odd"), tmp_path / "masks"
    said = refused(f"--output={output}", photographs=folder)
    assert f"The image {folder / 'broken.jpg'} cannot be decoded (it is not JPEG or PNG)" in said
    assert "give --skip_unreadable" in said
    assert "config." not in said
    main(f"--output={output}", "--skip_unreadable", photographs=folder)
    masks = output / "predictions" / "masks"
    assert {path.name for path in masks.iterdir()} == {"turned.png", "deep.png"}
    assert pixels_of(masks / "turned.png").shape == SIZES[0][::-1]
    (line,) = (output / "skipped.jsonl").read_text().splitlines()
    skipped = json.loads(line)
    assert skipped["file_name"] == "broken.jpg"
    assert "cannot be decoded" in skipped["reason"]
    assert read_manifest(output)["facts"]["skipped"] == 1


SLIPS = {
    "no run": (["--run=nowhere"], "There is no folder nowhere"),
    "an unfinished run": (["--run=photographs"], "photographs holds no finished training."),
    "no photographs": (["--photographs=run"], "There is no photograph in "),
    "a missing file": (
        ["--photographs=photographs/9.png"],
        "--photographs=photographs/9.png is neither a file nor a folder",
    ),
    "an unknown label": (
        ["--labels=unknown.csv"],
        "the label 'catt' (did you mean 'cat'?), which the network does not know: its classes are "
        "cat, dog, traffic light.",
    ),
    "no row": (
        ["--labels=short.csv"],
        "short.csv has no row for 2 of the 7 photographs, such as 6.png.",
    ),
    "no photograph": (
        ["--labels=long.csv"],
        "lists 8.png, which is none of the photographs in ",
    ),
    "no labels": (["--labels=none.csv"], "--labels=none.csv is no file"),
    "foreign files": (
        ["--output=run"],
        "--output=run holds files that are not of this command (",
    ),
    "the photographs": (
        ["--output=photographs/a"],
        "--output=photographs/a lies in --photographs=photographs",
    ),
    "a stage": (["--output=run/train/0a"], "holds files that are not of this command"),
    "a format": (["--format=tfrecords"], f"must be one of {', '.join(FORMATS)} (did you mean"),
    "a network": (["--network=cams"], "must be one of segmentation, cam (did you mean 'cam'?)."),
    "an option": (["--photograph=a"], "Unknown option --photograph (did you mean 'photographs'?)"),
    "instances as PNG": (
        ["--instances"],
        "--format=png holds no instances. Choose one of tfrecord, array_record, coco.",
    ),
    "a run without instances": (
        ["--instances", "--format=coco"],
        "model.json says that its run looks for no instances. Leave --instances out, or give the "
        "command of the run again with --config.instances.enabled=True.",
    ),
    "no CRF": (["--refine=crf"], "has no CRF (config.segmentation.crf.iterations = 0)"),
    "one PNG for two": (
        ["--photographs=twins"],
        "would both become x.png in an export as PNG. Rename one of the photographs, or export",
    ),
}


@pytest.fixture(scope="module")
def slips(given):
    """Files beside the given ones that are wrong."""
    write_labels(given / "unknown.csv", [("catt",), *LABELS[1:]])
    write_labels(given / "short.csv", LABELS)
    lines = (given / "short.csv").read_text().splitlines()
    (given / "short.csv").write_text("\n".join([lines[0], *lines[2:-1]]) + "\n")
    (given / "long.csv").write_text("\n".join([*lines, "8.png,cat"]) + "\n")
    (given / "twins").mkdir()
    for name in ("x.png", "x.jpg"):
        Image.new("RGB", (9, 9)).save(given / "twins" / name)
    return given


@pytest.mark.parametrize("slip", SLIPS)
def test_a_slip_is_a_sentence(slips, monkeypatch, capsys, slip):
    monkeypatch.setattr(predict.termination, "listen", lambda: None)
    monkeypatch.chdir(slips)
    usual = {"run": "run", "photographs": "photographs", "output": "new"}
    changed, sentence = SLIPS[slip]
    named = {argument.partition("=")[0][2:] for argument in changed}
    usual = [f"--{name}={value}" for name, value in usual.items() if name not in named]
    if slip == "an option":
        usual.append("--photographs=photographs")
    with pytest.raises(SystemExit) as ended:
        predict.main([*usual, *changed])
    assert ended.value.code == 2
    said = capsys.readouterr().err.split("\nhfpl_jax: ")[-1]
    assert sentence in said
    assert said.count("\n") == 1
    left = {path.name for path in (slips / "new").iterdir()} if (slips / "new").exists() else set()
    assert not left


@pytest.mark.parametrize("name", ["run", "photographs", "output"])
def test_what_is_missing_is_named(capsys, name):
    given = {"run": "a", "photographs": "b", "output": "c"}
    arguments = [f"--{other}={value}" for other, value in given.items() if other != name]
    with pytest.raises(SystemExit):
        predict.main(arguments)
    assert f"--{name} is missing: it names " in capsys.readouterr().err


def test_help_names_every_option(capsys):
    predict.main(["--help"])
    out = capsys.readouterr().out
    assert out.startswith("python -m hfpl_jax.predict --run=FOLDER --photographs=FOLDER_OR_FILE")
    for option in ("labels", "format", "network", "refine", "instances", "processes"):
        assert f"\n  --{option}\n      " in out


def test_another_command_does_not_take_the_folder(main, refused, given, tmp_path):
    main(f"--output={tmp_path}", photographs=given / "photographs" / "a")
    said = refused(f"--output={tmp_path}", "--format=coco", photographs=given / "photographs/a")
    assert "holds the masks of another command: the photographs, the labels, the network" in said


def test_a_killed_command_goes_on(main, expected, monkeypatch, tmp_path):
    finish, read = RecordWriter._finish_shard, Example.pixels

    def killed(self):
        finish(self)
        raise KeyboardInterrupt

    monkeypatch.setattr(label_photographs, "_SHARD_SIZE", 2)
    with monkeypatch.context() as patch:
        patch.setattr(RecordWriter, "_finish_shard", killed)
        with pytest.raises(KeyboardInterrupt):
            main(f"--output={tmp_path}")
    records = RecordReader(tmp_path / "unfinished" / "records")
    done = {record["file_name"] for record in records}
    assert len(done) == 2
    assert read_manifest(tmp_path)["done"] is False
    looked_at = []
    monkeypatch.setattr(
        Example, "pixels", lambda self: looked_at.append(self.file_name) or read(self)
    )
    main(f"--output={tmp_path}")
    assert sorted(looked_at) == sorted(set(NAMES) - done)
    for name, made in expected("segmentation").items():
        mask = pixels_of(tmp_path / "predictions" / "masks" / name)
        assert (mask == made.mask)[made.confidence > 1].all()
    assert not (tmp_path / "unfinished").exists()


def started(given, output, *arguments, photographs=None, devices=8):
    return subprocess.Popen(
        [
            sys.executable,
            "-m",
            "hfpl_jax.predict",
            f"--run={given / 'run'}",
            f"--photographs={photographs or given / 'photographs'}",
            f"--output={output}",
            *arguments,
        ],
        cwd=ROOT,
        env=environment(devices),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def close_scores(given, expected):
    """File name -> where the two best of the threshold and the CAMs lie within 1/255."""
    network = hfpl_jax.load(given / "run", "cam")
    paths = [given / "photographs" / name for name in expected]
    cams = network.cams(paths, [made.classes for made in expected.values()])
    close = {}
    for name, maps in zip(expected, cams, strict=True):
        scores = threshold_background(maps, network.model.threshold)
        best = np.sort(scores, axis=-1)[..., -2:]
        close[name] = best.min(-1) > best.max(-1) - 1.01 / 255
    return close


def assert_alike(output, expected, close):
    """Same files, sizes and classes; masks that differ where the two best scores are
    close, and nowhere else. Returns the share of pixels that differ.
    """
    masks = output / "predictions" / "masks"
    found = sorted(path.relative_to(masks).as_posix() for path in masks.rglob("*.png"))
    assert found == sorted(expected)
    labels = json.loads((output / "predictions" / "labels.json").read_text())
    apart = total = 0
    for name, made in expected.items():
        assert labels[name] == [CLASSES[label] for label in made.classes]
        mask = pixels_of(masks / name)
        assert mask.shape == made.mask.shape
        differ = mask != made.mask
        assert close[name][differ].all()
        apart, total = apart + differ.sum(), total + differ.size
    return apart / total


@pytest.mark.slow
@pytest.mark.parametrize("devices", [1, 2])
def test_other_devices_make_the_same_masks(given, expected, tmp_path, devices):
    status, _, err = finished(started(given, tmp_path, devices=devices))
    assert status == 0, err
    made = expected("segmentation")
    close = {name: each.confidence <= 1 for name, each in made.items()}
    assert assert_alike(tmp_path, made, close) < 1e-3
    assert f"{devices} cpu devices" in err


@pytest.mark.slow
def test_two_processes_make_the_same_masks(given, expected, tmp_path):
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    together = [f"--coordinator=localhost:{port}", "--processes=2", "--network=cam"]
    both = [
        started(given, tmp_path, *together, f"--process={number}", devices=4) for number in range(2)
    ]
    outputs = [finished(process) for process in both]
    assert [status for status, _, _ in outputs] == [0, 0], outputs[-1][2]
    assert ["Masks:" in out for _, out, _ in outputs] == [True, False]
    made = expected("cam")
    assert assert_alike(tmp_path, made, close_scores(given, made)) < 1e-3
    assert not (tmp_path / "unfinished").exists()


@pytest.mark.slow
def test_sigkill_and_the_same_command(given, expected, tmp_path):
    folder = tmp_path / "photographs"
    for number in range(20):  # more than two shards
        shutil.copytree(given / "photographs", folder / f"{number:02d}")
    output = tmp_path / "masks"
    process = started(given, output, photographs=folder)
    until(lambda: list(output.glob("unfinished/records/*.array_record")), process)
    process.send_signal(signal.SIGKILL)
    assert finished(process)[0] == -signal.SIGKILL
    first = {
        path: path.stat().st_mtime_ns for path in output.glob("unfinished/records/*.array_record")
    }
    assert first
    status, _, err = finished(started(given, output, photographs=folder))
    assert status == 0, err
    made = expected("segmentation")
    for number in (0, 19):
        for name in NAMES:
            path = output / "predictions" / "masks" / f"{number:02d}" / name
            assert (pixels_of(path) == made[name].mask)[made[name].confidence > 1].all()
