"""What a frozen backbone sees is stored once: a narrow ResNet-18 of random numbers."""

import json
import shutil
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from end_to_end import recipe, tiny
from PIL import Image

from hfpl_jax.build import build_backbone, pretrained_backbone
from hfpl_jax.data.stored_features import LISTING, StoredSplit
from hfpl_jax.errors import InputError
from hfpl_jax.runtime import workdir_lock
from hfpl_jax.runtime.manifest import make_room, write_manifest
from hfpl_jax.runtime.records import RecordReader
from hfpl_jax.stages import feature_demand, features
from hfpl_jax.stages.context import Context

from test_neighbours import LABELS, Splits, drawn  # isort: skip

SMALL = {
    "method.name": "probe",
    "method.probe.layers": ("layer2", "layer4"),
    "method.probe.long_side": 48,
    "model.resnet.width": 8,
    "run.cam_batch_size": 8,
    "run.padded_shapes": 1,
    "data.label_split": "",
}


@pytest.fixture
def context(tmp_path):
    """`context(folder, fields, train=, val=)` of lists of pixels."""

    def make(folder="features", fields=(), **splits):
        config = tiny()
        config.update_from_flattened_dict({**SMALL, **dict(fields)})
        config.data.val_split = "val" if "val" in splits else ""
        (tmp_path / folder).mkdir(exist_ok=True)
        write_manifest(tmp_path / folder, {"fingerprint": "0f", "settings": "5e", "done": False})
        return Context(config, tmp_path, tmp_path / folder, Splits(**splits))

    return make


def by_hand(config, example):
    """Of one photograph, unpadded and alone."""
    backbone = build_backbone(config)
    pixels = example.pixels()
    size = [round(side * 48 / max(pixels.shape[:2])) for side in pixels.shape[:2]]
    resized = np.asarray(Image.fromarray(pixels).resize(size[::-1], Image.Resampling.BICUBIC))
    scaled = (resized / 255 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
    found = jax.jit(backbone.apply)(
        pretrained_backbone(config, backbone), jnp.asarray(scaled[None], jnp.float32)
    )
    height, width = (4 * -(-side // 8) for side in size)
    colours = Image.fromarray(resized).resize((width, height), Image.Resampling.BICUBIC)
    return {name: found[name][0] for name in ("layer2", "layer4")}, np.asarray(colours)


def test_what_is_stored_is_what_the_backbone_sees(context, tmp_path):
    """One photograph is in both splits: it is there once."""
    train, val = drawn(5), drawn(2, seed=1)
    given = context(train=train, val=[val[0], train[3], val[1]])
    facts = features.run(given)
    assert facts["photographs"] == 7
    assert facts["notices"][0].startswith("The features are those of a backbone of random numbers")
    assert len(RecordReader(tmp_path / "stored_features" / "5e")) == 7 * 4
    for name in ("train", "val"):
        split, stored = given.dataset.split(name), StoredSplit(given.folder, name)
        assert len(stored) == len(split)
        assert stored.strides == {"layer2": 8, "layer4": 16}
        for index, example in enumerate(split):
            found = stored[index]
            assert found.file_name == example.file_name
            np.testing.assert_array_equal(found.labels, LABELS[index % len(LABELS)])
            maps, colours = by_hand(given.config, example)
            np.testing.assert_array_equal(found.colours(), colours)
            for layer, expected in maps.items():
                ours = found.map(layer)
                assert ours.dtype == np.float16
                assert ours.shape == expected.shape
                np.testing.assert_allclose(ours, expected, rtol=1e-3, atol=2e-4)
                assert np.ptp(ours) > 0.1


def test_killed_on_the_way(context, tmp_path):
    """What is in whole shards is not made again, and the end is the same."""
    pixels = {"train": drawn(20), "val": drawn(3, seed=1)}
    apart = {"run.features": str(tmp_path / "apart")}
    undisturbed, killed = context(fields=apart, **pixels), context("again", **pixels)
    features.run(undisturbed)
    killed.dataset.split("train").fails_at = 17
    with pytest.raises(RuntimeError, match="killed"):
        features.run(killed)
    records = tmp_path / "stored_features" / "5e"
    before = {path.name: path.stat().st_mtime_ns for path in records.glob("*.array_record")}
    assert len(before) >= 2  # shards of four photographs
    killed.dataset.split("train").fails_at = None
    features.run(killed)
    after = {path.name: path.stat().st_mtime_ns for path in records.glob("*.array_record")}
    assert before.items() <= after.items()
    for name in pixels:
        ours, theirs = (StoredSplit(each.folder, name) for each in (killed, undisturbed))
        for left, right in zip(ours, theirs, strict=True):
            assert left.file_name == right.file_name
            np.testing.assert_array_equal(left.colours(), right.colours())
            for layer in ours.strides:
                np.testing.assert_allclose(left.map(layer), right.map(layer), rtol=2e-3, atol=2e-4)


def test_several_runs_share_them(context, tmp_path, monkeypatch):
    pixels, shared = {"train": drawn(3)}, {"run.features": str(tmp_path / "shared")}
    first, second = (context(name, shared, **pixels) for name in ("one", "two"))
    features.run(first)
    monkeypatch.setattr(features, "write_features", None)  # nothing is left to write
    features.run(second)
    assert len(RecordReader(tmp_path / "shared" / "5e")) == 3 * 4
    assert not (tmp_path / "stored_features").exists()
    for each in (first, second):
        assert StoredSplit(each.folder, "train")[2].map("layer4").shape == (3, 3, 64)


def test_those_of_photographs_that_were_there_are_not_made_again(context, monkeypatch):
    """A label was corrected, a photograph removed and another added: the stage's folder
    is emptied, and one photograph is left to look at.
    """
    pixels = drawn(4)
    before = context(train=pixels[:3])
    features.run(before)
    announced = {"fingerprint": "1f", "settings": "5e", "done": False}
    make_room(before.folder, announced)
    assert not (before.folder / LISTING).exists()
    after = context(train=pixels[1:])
    write_manifest(after.folder, announced)
    seen, original = [], features.FeaturePredictor.batches
    monkeypatch.setattr(
        features.FeaturePredictor,
        "batches",
        lambda _, photographs, tasks, *rest: (
            seen.extend(i for _, each in tasks for i in each)
            or original(_, photographs, tasks, *rest)
        ),
    )
    features.run(after)
    assert seen == [2]
    stored = StoredSplit(after.folder, "train")
    for index, example in enumerate(after.dataset.split("train")):
        maps, colours = by_hand(after.config, example)
        np.testing.assert_array_equal(stored[index].colours(), colours)
        np.testing.assert_allclose(stored[index].map("layer2"), maps["layer2"], atol=2e-3)


def test_two_commands_do_not_write_to_one_folder(context, tmp_path):
    given = context(train=drawn(1), fields={"run.features": str(tmp_path / "shared")})
    with (
        workdir_lock.held(tmp_path / "shared" / "5e"),
        pytest.raises(InputError, match=r"/shared/5e is in use by process \d+ on"),
    ):
        features.run(given)


def test_features_that_are_gone_are_made_again(context, tmp_path):
    given = context(train=drawn(3), fields={"run.features": str(tmp_path / "shared")})
    features.run(given)
    assert features.there(given)
    shutil.rmtree(tmp_path / "shared")
    assert not features.there(given)
    with pytest.raises(
        InputError, match=r"There are no features in .*shared/5e, .* Add features to --stages"
    ):
        StoredSplit(given.folder, "train")
    given.config.run.features = ""  # where they are kept from now on
    features.run(given)
    assert features.there(given)
    assert len(StoredSplit(given.folder, "train")) == 3


def test_what_they_take_is_told_before(context, monkeypatch, caplog):
    given = context(train=drawn(3))
    # 48x36, 30x48 and 48x36 pixels: 6x5, 4x6, 6x5 cells of 16 channels; 3x3, 2x3, 3x3 of 64;
    # 16 colours a cell of the finest.
    needed = 2 * (84 * 16 + 24 * 64) + 3 * 16 * 84
    free = SimpleNamespace(free=(needed - 1) // 3)
    monkeypatch.setattr(feature_demand.shutil, "disk_usage", lambda _: free)
    monkeypatch.setattr(features, "write_features", None)
    with pytest.raises(InputError) as told:
        features.run(given)
    assert str(told.value) == (
        "The features layer2, layer4 of 3 photographs take up to 9.8 kB before compression, 3.3 kB "
        f"each. 9.8 kB of that are still to be written, but {given.workdir}/stored_features/5e has "
        "3.3 kB free. Free some space, name a folder on a larger disk in config.run.features, or "
        "set fewer config.method.probe.layers (('layer4',) takes 4.2 kB), or a smaller "
        "config.method.probe.long_side."
    )
    for enough, warned in ((needed // 3 + 1, True), (needed - 1, True), (needed, False)):
        free.free = enough
        caplog.clear()
        with pytest.raises(TypeError):  # it would be written now
            features.run(given)
        assert ("They may fit, as they are compressed." in caplog.text) == warned
    demand = features.demanded(given)
    assert (demand.count, demand.total) == (3, needed)


def test_what_coco_takes():
    """Train and val of 2017 at 448, of 640x480: 28x21 cells of 1,024 and 2,048 channels."""
    config = recipe("frozen", "data=coco")
    demand = feature_demand.Demand.of(config, [(336, 448)] * 123_287)
    assert demand.total == 123_287 * 588 * (2 * 3072 + 48)
    assert str(demand) == (
        "The features layer3, layer4 of 123,287 photographs take up to 448.9 GB before "
        "compression, 3.6 MB each."
    )
    assert demand.cure == (
        "fewer config.method.probe.layers (('layer3',) takes 151.9 GB), "
        "config.method.probe.channels=256 (takes 77.7 GB), or a smaller "
        "config.method.probe.long_side"
    )
    config.method.probe.layers, config.method.probe.channels = ("layer4",), 256
    demand = feature_demand.Demand.of(config, [(336, 448)])
    assert demand.cure == "a smaller config.method.probe.long_side"


@pytest.mark.parametrize(
    "content",
    [{}, {"records": "records", "strides": 3, "splits": {}}, {"records": 2, "strides": {}}],
)
def test_a_damaged_listing(content, tmp_path):
    (tmp_path / LISTING).write_text(json.dumps(content))
    with pytest.raises(InputError, match=r"photographs\.json is not readable .* Delete the folder"):
        StoredSplit(tmp_path, "train")


def test_photographs_without_features(context):
    given = context(train=drawn(2))
    features.run(given)
    path = given.folder / LISTING
    content = json.loads(path.read_text())
    content["splits"]["train"]["keys"][1] = "0e"
    path.write_text(json.dumps(content))
    with pytest.raises(
        InputError, match=r"There are no features of train1\.png in .* Add features to"
    ):
        StoredSplit(given.folder, "train")


def test_in_place_of_features_that_are_not_there_yet(context):
    given = context(train=drawn(3))
    blank = features.unstored(given, "train")
    assert [each.file_name for each in blank] == ["train0.png", "train1.png", "train2.png"]
    maps = {layer: blank[1].map(layer) for layer in blank.strides}
    shapes = {layer: (array.shape, array.dtype, array.any()) for layer, array in maps.items()}
    assert shapes == {
        "layer2": ((6, 6, 16), np.float16, False),
        "layer4": ((3, 3, 64), np.float16, False),
    }
    assert blank[1].colours().shape == (24, 24, 3)


def test_cams_of_another_size_are_noticed(context):
    config = context(train=[]).config
    config.inference.long_side = 48
    assert features.size_notices(config) == []
    config.inference.long_side = 64
    assert features.size_notices(config) == [
        "CAMs were made at a long side of 64, but the head learnt from features of a long side of "
        "48. Set --config.inference.long_side=48."
    ]
    config.inference.long_side = 0
    assert features.size_notices(config)[0].startswith("CAMs were made at the photographs' own")
    config.method.name = "cam"
    assert features.size_notices(config) == []


def test_cams_are_made_of_them_where_they_are_of_the_same_size(context):
    config = context(train=[]).config
    config.inference.update({"long_side": 48, "scales": (1.0,), "flip": False})
    assert features.serve_cams(config)
    for field, other in (("long_side", 64), ("scales", (1.0, 2.0)), ("flip", True)):
        changed = config.copy_and_resolve_references()
        changed.inference[field] = other
        assert not features.serve_cams(changed)
    config.method.name = "cam"
    assert not features.serve_cams(config)
