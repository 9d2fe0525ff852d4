"""The search for photographs that look alike, by a narrow ResNet-18 with random
weights, against NumPy in float64.
"""

import io
import json
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from end_to_end import tiny
from PIL import Image

from hfpl_jax.build import build_backbone, pretrained_backbone
from hfpl_jax.data.dataset import Example
from hfpl_jax.data.index import Entry
from hfpl_jax.errors import InputError
from hfpl_jax.retrieval import describe
from hfpl_jax.stages import neighbours
from hfpl_jax.stages.context import Context
from hfpl_jax.stages.neighbours import nearest_photographs

SMALL = {
    "neighbours.enabled": True,
    "neighbours.long_side": 48,
    "model.resnet.width": 8,
    "run.cam_batch_size": 8,
    "run.padded_shapes": 1,
}
SIZES = [(64, 48), (40, 64)]
LABELS = [(0,), (1,), (0, 1), (), (2,)]


class Photographs(Sequence):
    """A split in memory; `fails_at` is the photograph that cannot be read."""

    def __init__(self, name, pixels, fails_at=None):
        self.name, self._pixels, self.fails_at = name, pixels, fails_at

    def __len__(self):
        return len(self._pixels)

    def __getitem__(self, index):
        index = range(len(self))[index]
        png = io.BytesIO()
        Image.fromarray(self._pixels[index]).save(png, "PNG")
        example = Photograph if index == self.fails_at else Example
        labels = np.array(LABELS[index % len(LABELS)], np.int64)
        size = self._pixels[index].shape[:2]
        return example(f"{self.name}{index}.png", png.getvalue(), labels, None, *size)

    def entries(self):
        return [Entry.of(example) for example in self]


class Photograph(Example):
    def pixels(self):
        raise RuntimeError("killed")


def drawn(count, seed=0):
    """Photographs of smooth colours."""
    rng = np.random.default_rng(seed)
    small = [rng.integers(0, 256, (6, 6, 3), np.uint8) for _ in range(count)]
    return [
        np.asarray(Image.fromarray(each).resize(SIZES[index % 2][::-1], 3))
        for index, each in enumerate(small)
    ]


class Splits:
    class_names = ("cat", "dog", "sheep")

    def __init__(self, **splits):
        self.splits = {name: Photographs(name, pixels) for name, pixels in splits.items()}

    def split(self, name):
        return self.splits[name]


@pytest.fixture
def context(tmp_path):
    """`context(train=, val=)` of lists of pixels; without val there is no such split."""

    def make(folder="neighbours", **splits):
        config = tiny()
        config.update_from_flattened_dict(SMALL)
        config.data.val_split = "val" if "val" in splits else ""
        (tmp_path / folder).mkdir(exist_ok=True)
        return Context(config, tmp_path, tmp_path / folder, Splits(**splits))

    return make


def listed(context):
    """Both files."""
    names = (neighbours.NEIGHBOURS_FILE, neighbours.DUPLICATES_FILE)
    return [json.loads((context.folder / name).read_text()) for name in names]


def descriptors(config, split):
    """Of unpadded photographs, whitened by those of `split`: a function of a split."""
    backbone = build_backbone(config).clone(dtype=jnp.float32)
    variables = pretrained_backbone(config, backbone)
    apply = jax.jit(backbone.apply)

    def features(example):
        pixels, long_side = example.pixels(), config.neighbours.long_side
        size = [round(side * long_side / max(pixels.shape[:2])) for side in pixels.shape[:2]]
        resized = np.asarray(Image.fromarray(pixels).resize(size[::-1], Image.Resampling.BICUBIC))
        scaled = (resized / 255 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
        found = apply(variables, jnp.asarray(scaled[None], jnp.float32))[backbone.head_feature]
        return np.asarray(found[0], np.float64)

    maps = [features(example) for example in split]
    variances = np.var([each.sum((0, 1)) for each in maps], axis=0)
    channels = sorted(np.argsort(-variances)[:25])

    def parts(of_one):
        weights = of_one[..., channels]
        lengths = np.sqrt(np.sum(weights**2, (0, 1)))
        weights = np.sqrt(weights / np.where(lengths > 0, lengths, 1))
        both = np.einsum("hwn,hwk->nk", weights, of_one).ravel()
        return both / np.linalg.norm(both)

    fitted = np.stack([parts(each) for each in maps])
    _, values, rows = np.linalg.svd(fitted - fitted.mean(0), full_matrices=False)
    kept = max(1, len(split) // 4)

    def whitened(examples):
        centred = np.stack([parts(features(example)) for example in examples]) - fitted.mean(0)
        scores = centred @ rows[:kept].T / values[:kept]
        return scores / np.linalg.norm(scores, axis=1, keepdims=True)

    return whitened


def test_the_nearest_of_two_splits_and_what_is_in_both(context):
    train, others = drawn(13), drawn(3, seed=1)
    train[7] = train[2]
    given = context(train=train, val=[others[0], train[4], others[1], others[2]])
    facts = neighbours.run(given)
    whitened = descriptors(given.config, given.dataset.split("train"))
    vectors = whitened(given.dataset.split("train"))
    exact = vectors @ vectors.T
    found, pairs = listed(given)
    assert found["split"] == "train"
    names = [f"train{row}.png" for row in range(13)]
    assert list(found["nearest"]) == names
    for row, nearest in enumerate(found["nearest"].values()):
        order, cosines = [names.index(other) for other, _ in nearest], [each for _, each in nearest]
        assert sorted(order) == [other for other in range(13) if other != row]
        assert cosines == sorted(cosines, reverse=True)
        np.testing.assert_allclose(cosines, exact[row, order], atol=2e-3)
    assert found["nearest"]["train2.png"][0] == ["train7.png", 1.0]
    assert nearest_photographs(given.folder)["train7.png"][0] == "train2.png"
    across = vectors @ whitened(given.dataset.split("val")).T
    first = pairs["pairs"][0]
    assert first == ["train4.png", "val1.png", 1.0]
    assert len(pairs["pairs"]) == np.sum(across >= 0.95)
    assert facts["near_duplicates"] == len(pairs["pairs"])
    assert facts["dimensions"] == 3
    random, twice = facts["notices"]
    assert random.startswith("The neighbours were found with a backbone of random numbers, ")
    count = len(pairs["pairs"])
    assert twice.startswith(
        f"Pairs of photographs of train and val look nearly the same ({count}, beginning with "
        "train4.png and val1.png, cosine 1.00). "
    )
    assert not (given.folder / "records").exists()


def test_fewer_photographs_than_neighbours_and_one_of_one_colour(context):
    given = context(train=[*drawn(4), np.zeros((48, 48, 3), np.uint8)])
    facts = neighbours.run(given)
    found = nearest_photographs(given.folder)
    names = {f"train{row}.png" for row in range(5)}
    assert {name: set(others) for name, others in found.items()} == {
        name: names - {name} for name in names
    }
    assert "near_duplicates" not in facts
    # The first photograph shares a label with the third, and so does the second.
    shown = {name: set(LABELS[row]) for row, name in enumerate(sorted(names))}
    hits = [bool(shown[name] & shown[found[name][0]]) for name in sorted(names)[:3]]
    assert facts["recall_at_1"] == pytest.approx(np.mean(hits))
    assert facts["recall_at_5"] == 1.0
    assert facts["recall_at_1_by_chance"] == pytest.approx((1 / 4 + 1 / 4 + 2 / 4) / 3)


@pytest.mark.parametrize("count", [0, 1])
def test_one_photograph_has_no_neighbours(context, count):
    with pytest.raises(InputError) as told:
        neighbours.run(context(train=drawn(count)))
    assert str(told.value) == (
        f"The split train has {count} photographs, and neighbours are two or more. Give more, or "
        "do without the neighbours."
    )


def test_photographs_that_are_all_the_same(context):
    with pytest.raises(InputError, match="the 3 photographs of the training split have the same"):
        neighbours.run(context(train=[np.full((48, 48, 3), 90, np.uint8)] * 3))


def test_fitted_on_some_and_killed_on_the_way(context, monkeypatch):
    monkeypatch.setattr(describe, "FITTED_ON", 8)
    pixels = {"train": drawn(20), "val": drawn(3, seed=1)}
    undisturbed = context(**pixels)
    assert neighbours.run(undisturbed)["dimensions"] == 2
    killed = context("again", **pixels)
    for split, at in (("train", 15), ("train", 16), ("val", 2)):
        photographs = killed.dataset.split(split)
        photographs.fails_at = at
        with pytest.raises(RuntimeError, match="killed"):
            neighbours.run(killed)
        photographs.fails_at = None
    done = killed.folder / "records" / "1 descriptors"
    before = {path.name: path.stat().st_mtime_ns for path in done.iterdir()}
    assert len(before) == 3  # twelve photographs in shards of four
    neighbours.run(killed)
    assert listed(killed) == listed(undisturbed)


DAMAGED = {
    "no list": {"nearest": 3},
    "no pairs": {"nearest": {"a.jpg": [1]}},
    "an unknown name": {"nearest": {"a.jpg": [["b.jpg", 0.5]]}},
    "nothing": {},
}


@pytest.mark.parametrize("content", DAMAGED.values(), ids=DAMAGED)
def test_a_damaged_list(content, tmp_path):
    (tmp_path / "neighbours.json").write_text(json.dumps(content))
    with pytest.raises(InputError, match=r"neighbours\.json is not readable .* Delete the folder"):
        nearest_photographs(tmp_path)


def test_a_missing_list(tmp_path):
    with pytest.raises(InputError, match=r"neighbours\.json is not readable"):
        nearest_photographs(tmp_path)
