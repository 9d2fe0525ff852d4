import hashlib
import io
import time

import numpy as np
import pytest
from PIL import Image

from hfpl_jax.data.dataset import decode_image, decode_mask
from hfpl_jax.data.prepare import prepare
from hfpl_jax.data.scene_backgrounds import BACKGROUNDS, color, smooth_noise
from hfpl_jax.data.scene_objects import THINGS, random_palette
from hfpl_jax.data.scene_painter import CLASS_NAMES, paint_scene
from hfpl_jax.data.scenes import Scenes, generate
from hfpl_jax.errors import InputError
from hfpl_jax.instance import decode_rle


def test_color_and_noise():
    np.testing.assert_allclose(color(1 / 3, 1.0, 1.0), [0.0, 1.0, 0.0], atol=1e-6)
    np.testing.assert_allclose(color(-1 / 3, 1.0, 0.5), [0.0, 0.0, 0.5], atol=1e-6)
    noise = smooth_noise(np.random.default_rng(0), 60, 80, 6, 3)
    assert noise.shape == (60, 80)
    # Bumps are twice as tall as wide, so rows differ less than columns.
    assert np.abs(np.diff(noise, axis=0)).mean() < 0.7 * np.abs(np.diff(noise, axis=1)).mean()


@pytest.mark.parametrize(
    "background", sorted(set(BACKGROUNDS), key=lambda background: background.__name__)
)
@pytest.mark.parametrize("size", [(40, 70), (64, 64)])
def test_backgrounds_fill_their_image_and_differ(background, size):
    image = background(np.random.default_rng(0), *size)
    assert image.shape == (*size, 3)
    assert np.isfinite(image).all()
    assert image.min() > -0.3
    assert image.max() < 1.3
    assert image.std() > 0.01
    assert not np.array_equal(image, background(np.random.default_rng(1), *size))


@pytest.mark.parametrize("name", CLASS_NAMES)
def test_things_fill_the_unit_disk_and_stay_inside(name):
    axis = np.linspace(-1.5, 1.5, 121, dtype=np.float32)
    v, u = np.meshgrid(axis, axis, indexing="ij")
    for seed in range(8):
        rng = np.random.default_rng(seed)
        depth, paint = THINGS[name](rng, u, v, random_palette(rng, name))
        inside = depth > 0
        assert paint.shape == (121, 121, 3)
        assert np.hypot(u, v)[inside].max() < 1.1  # farther out it would be cut off
        assert np.hypot(u, v)[inside].max() > 0.85
        assert 0.2 < inside.sum() * (axis[1] - axis[0]) ** 2 < 3.2
        assert len(np.unique(paint[inside], axis=0)) >= 2  # a texture


def test_outlines_of_any_two_classes_differ():
    axis = np.linspace(-1.2, 1.2, 81, dtype=np.float32)
    v, u = np.meshgrid(axis, axis, indexing="ij")
    outlines = []
    for name, thing in THINGS.items():
        rng = np.random.default_rng(0)
        outlines.append(thing(rng, u, v, random_palette(rng, name))[0] > 0)
    for i, one in enumerate(outlines):
        for other in outlines[:i]:
            assert (one & other).sum() / (one | other).sum() < 0.9


def test_scenes_are_a_function_of_split_and_index():
    one, same, other, val = (
        generate(split, index, 64, "a.jpg")
        for split, index in (("train", 5), ("train", 5), ("train", 6), ("val", 5))
    )
    assert one.image == same.image
    assert one.segmentation_mask == same.segmentation_mask
    assert len({hashlib.sha256(example.image).digest() for example in (one, other, val)}) == 3


def test_examples_agree_with_their_masks():
    counts, sizes = [], set()
    for index in range(25):
        example = generate("train", index, 96, "a.jpg")
        image, mask = (
            decode_image(example.image, "a.jpg"),
            decode_mask(example.segmentation_mask, "a.png"),
        )
        assert image.shape == (example.height, example.width, 3)
        assert mask.shape == (example.height, example.width)
        assert 72 <= example.height <= 108
        assert 72 <= example.width <= 108
        assert Image.open(io.BytesIO(example.image)).format == "JPEG"
        assert example.labels.dtype == np.int64
        np.testing.assert_array_equal(example.labels, np.setdiff1d(mask, [0]) - 1)
        assert 0.02 < (mask > 0).mean() < 0.9
        counts.append(len(example.labels))
        sizes.add(mask.shape)
    assert min(counts) == 1
    assert max(counts) >= 3
    assert len(sizes) > 20


def test_instances_are_what_is_seen_of_each_thing():
    """Together they are the mask; several of one class stay several."""
    of_one_class = 0
    for index in range(25):
        example = generate("train", index, 96, "a.jpg")
        painted = np.zeros((example.height, example.width), np.uint8)
        for one in example.instances:
            region = decode_rle(one.segmentation)
            assert region.any()
            assert not painted[region].any()
            assert (one.score, one.crowd, one.peak) == (None, False, None)
            painted[region] = one.label + 1
        np.testing.assert_array_equal(painted, decode_mask(example.segmentation_mask, "a.png"))
        assert 1 <= len(example.instances) <= 4
        of_one_class += len(example.instances) > len(example.labels)
    assert of_one_class > 0


def test_every_class_and_both_splits_are_balanced():
    labels = np.concatenate([generate("val", index, 48, "a.jpg").labels for index in range(120)])
    counts = np.bincount(labels, minlength=len(CLASS_NAMES))
    assert counts.min() > 12
    assert counts.max() < 60


def _jump(image, mask, inside):
    """Mean colour difference of neighbours, across contours or inside one region."""
    jumps = []
    for axis in (0, 1):
        same = np.diff(mask.astype(int), axis=axis) == 0
        jumps.append(
            np.abs(np.diff(image.astype(float) / 255, axis=axis)).mean(axis=2)[same == inside]
        )
    return np.concatenate(jumps).mean()


def test_contours_are_colour_edges():
    ratios = []
    for index in range(16):
        image, mask, _ = paint_scene(np.random.default_rng(index), 96, 96)
        ratios.append(_jump(image, mask, inside=False) / _jump(image, mask, inside=True))
    assert np.median(ratios) > 3
    assert min(ratios) > 1


def test_colour_alone_does_not_tell_the_class():
    """The mean colour of a thing, known exactly, finds the class of the nearest mean in
    under three of five cases.
    """
    colours, classes = [], []
    for index in range(200):
        image, mask, _ = paint_scene(np.random.default_rng(index), 48, 48)
        for value in np.setdiff1d(mask, [0]):
            colours.append(image[mask == value].mean(axis=0))
            classes.append(int(value) - 1)
    colours, classes = np.array(colours), np.array(classes)
    means = np.array([colours[classes == label].mean(axis=0) for label in range(len(CLASS_NAMES))])
    nearest = ((colours[:, None] - means) ** 2).sum(axis=2).argmin(axis=1)
    assert (nearest == classes).mean() < 0.6


def test_painting_is_fast():
    rng = np.random.default_rng(0)
    paint_scene(rng, 128, 128)
    best = np.inf
    for _ in range(15):
        start = time.process_time()
        paint_scene(rng, 128, 128)
        best = min(best, time.process_time() - start)
    assert best < 0.05


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"train_size": 0}, "train_size is 0"),
        ({"val_size": 2.5}, "val_size is 2.5"),
        ({"unlabelled_size": -1}, "unlabelled_size is -1.*at least 0"),
        ({"size": 20}, "size is 20.*at least 48"),
        ({"root": "/photos"}, "root is '/photos'.*Leave it empty"),
    ],
)
def test_unusable_options(tmp_path, options, message):
    with pytest.raises(InputError, match=message):
        Scenes(data_dir=str(tmp_path), **options)


def test_prepared_scenes_read_back(tmp_path):
    options = {"train_size": 5, "val_size": 2, "size": 48}
    config = {"name": "scenes", "root": "", "train_split": "train", "val_split": "val"}
    dataset = prepare(config | {"options": options}, tmp_path)
    assert dataset.class_names == CLASS_NAMES
    assert {name: len(dataset.split(name)) for name in dataset.splits} == {"train": 5, "val": 2}
    for index, example in enumerate(dataset.split("train")):
        expected = generate("train", index, 48, f"train_{index:05d}.jpg")
        assert example.file_name == expected.file_name
        assert example.image == expected.image
        assert example.segmentation_mask == expected.segmentation_mask
        np.testing.assert_array_equal(example.labels, expected.labels)
        assert example.instances == expected.instances
    unlabelled = prepare(config | {"options": options | {"unlabelled_size": 3}}, tmp_path)
    assert unlabelled.splits == ("train", "val", "unlabelled")
    assert unlabelled.split("train")[4].image == expected.image
    assert unlabelled.split("unlabelled")[0].image != unlabelled.split("train")[0].image
    assert unlabelled.digest(["train"]) == dataset.digest(["train"])
    more = prepare(config | {"options": options | {"train_size": 6}}, tmp_path)
    assert more.fingerprint != dataset.fingerprint
    assert more.split("train")[4].image == expected.image
