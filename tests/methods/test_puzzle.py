import functools
import re
from typing import NamedTuple

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import loss_oracles as oracle
import numpy as np
import pytest
from end_to_end import recipe
from jax.sharding import AxisType, Mesh
from loss_oracles import assert_close

from hfpl_jax.build import build_network, variable_shapes
from hfpl_jax.defaults import default_config
from hfpl_jax.errors import InputError
from hfpl_jax.methods.hfpl import Hfpl
from hfpl_jax.methods.puzzle import Puzzle, join, puzzle_losses, tile
from hfpl_jax.models.convolution import ConvBatchNorm
from hfpl_jax.models.convolve import convolve
from hfpl_jax.runtime.sharding import batch_sharding
from hfpl_jax.settings.whole import Settings
from hfpl_jax.training.objective import Batch, total_loss
from hfpl_jax.training.optimizer import flatten

KEY = jax.random.key(3)
TERMS = ("classification", "classification_tiles", "reconstruction")


class Output(NamedTuple):
    logits: jax.Array


def random_maps(shape, seed=0):
    """Logits of images and of their tiles, joined; and labels: the last class is in no
    image.
    """
    rng = np.random.default_rng(seed)
    labels = (rng.random((shape[0], shape[3])) < 0.5).astype(np.float32)
    labels[:, -1] = 0.0
    return *(rng.normal(0, 2, shape).astype(np.float32) for _ in range(2)), labels


def reconstruction(first, second, labels):
    """Value and gradient to the first, in float64, one image and class after the
    other.
    """
    value, slope = 0.0, np.zeros(first.shape)
    for image, of_image in enumerate(labels):
        for label in np.flatnonzero(of_image):
            difference = np.float64(first[image, ..., label]) - second[image, ..., label]
            value += np.abs(difference).sum() / first.size
            slope[image, ..., label] = np.sign(difference) / first.size
    return value, slope


def weighted(weights, logits, joined, labels):
    losses = puzzle_losses(logits, joined, labels)
    return sum(weights[name] * losses[name] for name in losses)


def test_tiles_are_the_quarters_row_by_row():
    images = np.random.default_rng(0).normal(size=(2, 8, 12, 3)).astype(np.float32)
    tiles = jax.jit(tile)(images)
    assert tiles.shape == (8, 4, 6, 3)
    quarters = [
        image[rows, columns]
        for image in images
        for rows in (slice(0, 4), slice(4, 8))
        for columns in (slice(0, 6), slice(6, 12))
    ]
    np.testing.assert_array_equal(tiles, np.stack(quarters))
    np.testing.assert_array_equal(jax.jit(join)(tiles), images)


@pytest.mark.parametrize("shape", [(1, 7, 8, 3), (1, 8, 7, 3)])
def test_what_cannot_be_cut_in_two_is_refused(shape):
    with pytest.raises(TypeError, match="cannot reshape"):
        tile(np.zeros(shape, np.float32))


@pytest.mark.parametrize("function", [tile, join])
def test_a_divided_batch_stays_where_it_is(function):
    """No image is sent to another device to be cut, no tile to be joined."""
    mesh = Mesh(np.array(jax.devices()), ("data",), axis_types=(AxisType.Auto,))
    sharding = batch_sharding(mesh)
    images = jax.ShapeDtypeStruct((8 * len(mesh.devices), 8, 8, 3), jnp.float32)
    compiled = jax.jit(function, in_shardings=sharding).lower(images).compile()
    made = jax.eval_shape(function, images)
    assert compiled.output_shardings.is_equivalent_to(sharding, made.ndim)
    assert "all-" not in compiled.as_text()


@pytest.mark.parametrize("shape", [(1, 1, 1, 1), (2, 1, 6, 3), (3, 7, 4, 5), (2, 8, 6, 20)])
def test_terms_and_gradients(shape):
    first, second, labels = random_maps(shape)
    losses, slopes = (
        jax.jit(function)(first, second, labels)
        for function in (puzzle_losses, jax.jacrev(puzzle_losses, argnums=(0, 1)))
    )
    nothing = np.zeros(shape)
    value, slope = oracle.gap(first, labels)
    value_tiles, slope_tiles = oracle.gap(second, labels)
    between, slope_between = reconstruction(first, second, labels)
    expected = {
        "classification": (value, slope, nothing),
        "classification_tiles": (value_tiles, nothing, slope_tiles),
        "reconstruction": (between, slope_between, -slope_between),
    }
    assert set(losses) == set(expected) == set(TERMS)
    for name, (value, *slopes_expected) in expected.items():
        assert float(losses[name]) == pytest.approx(value, rel=1e-5), name
        for slope, slope_expected in zip(slopes[name], slopes_expected, strict=True):
            assert_close(slope, slope_expected)


def test_absent_classes_count_in_the_mean():
    """Of four classes one is there and differs by 3: 3/4."""
    logits = jnp.full((1, 2, 2, 4), 3.0)
    losses = puzzle_losses(logits, jnp.zeros_like(logits), jnp.asarray([[0, 1, 0, 0]]))
    assert float(losses["reconstruction"]) == pytest.approx(0.75)


def test_float64_is_float64_throughout():
    first, second, labels = (array.astype(np.float64) for array in random_maps((2, 4, 6, 3)))
    with jax.enable_x64(True):
        losses = puzzle_losses(jnp.asarray(first), jnp.asarray(second), labels)
        expected = (
            oracle.gap(first, labels)[0],
            oracle.gap(second, labels)[0],
            reconstruction(first, second, labels)[0],
        )
        for name, value in zip(TERMS, expected, strict=True):
            assert float(losses[name]) == pytest.approx(value, rel=1e-12), name


@pytest.mark.parametrize("present", [0.0, 1.0])
@pytest.mark.parametrize("level", [0.0, 1.0, -80.0])
def test_flat_equal_maps_and_no_class_have_finite_gradients(level, present):
    maps = jnp.full((2, 4, 6, 3), level)
    labels = jnp.full((2, 3), present)
    weights = dict.fromkeys(TERMS, 1.0)
    value, slopes = jax.jit(
        jax.value_and_grad(functools.partial(weighted, weights), argnums=(0, 1))
    )(maps, maps, labels)
    assert np.isfinite(value)
    assert all(np.isfinite(slope).all() for slope in slopes)
    only = functools.partial(weighted, {**dict.fromkeys(TERMS, 0.0), "reconstruction": 1.0})
    assert not jax.grad(only)(maps, maps, labels).any()  # equal maps are at rest


class Variants(chex.TestCase):
    @chex.variants(with_jit=True, without_jit=True, with_device=True)
    def test_value_and_gradient(self):
        first, second, labels = random_maps((2, 6, 4, 3))
        weights = {**dict.fromkeys(TERMS, 0.0), "reconstruction": 1.0}
        value, slope = self.variant(
            jax.value_and_grad(functools.partial(weighted, weights), argnums=1)
        )(jnp.asarray(first), jnp.asarray(second), jnp.asarray(labels))
        expected, expected_slope = reconstruction(first, second, labels)
        assert float(value) == pytest.approx(expected, rel=1e-5)
        assert_close(slope, -expected_slope)

    @chex.variants(with_jit=True, without_jit=True, with_device=True)
    def test_tiles_joined(self):
        images = np.random.default_rng(0).normal(size=(3, 4, 6, 2)).astype(np.float32)
        np.testing.assert_array_equal(self.variant(lambda x: join(tile(x)))(images), images)


def network(seen=None):
    """Output stride 4: the mean colour of a cell times a matrix, and its height in the
    array, by which a tile's map differs from the image's.
    """
    mixing = jnp.asarray(np.random.default_rng(5).normal(size=(3, 4)), jnp.float32)

    def apply(images, *, train=False, sizes=None):
        if seen is not None:
            seen.append((images, train))
        b, h, w, _ = images.shape
        pooled = images.reshape(b, h // 4, 4, w // 4, 4, 3).mean((2, 4))
        return Output(pooled @ mixing + jnp.arange(h // 4)[:, None, None])

    return apply


def batch_at(progress):
    labels = jnp.asarray([[1, 0, 1, 0], [0, 0, 0, 1]], jnp.float32)
    images = jnp.asarray(np.random.default_rng(0).normal(0, 2, (2, 16, 24, 3)), jnp.float32)
    return Batch(images, labels, jnp.ones((2, 16, 24), bool), jnp.asarray(progress, jnp.float32))


def test_the_network_sees_the_photographs_and_then_their_tiles():
    seen = []
    batch = batch_at(0.25)
    prediction = Puzzle().predict(network(seen), batch, KEY)
    assert [train for _, train in seen] == [True, True]
    np.testing.assert_array_equal(seen[0][0], batch.images)
    np.testing.assert_array_equal(seen[1][0], tile(batch.images))
    full, tiles = (network()(images).logits for images in (batch.images, tile(batch.images)))
    np.testing.assert_array_equal(prediction.logits, full)
    expected = puzzle_losses(full, join(tiles), batch.labels)
    assert set(prediction.losses) == set(TERMS)
    for name, value in expected.items():
        assert float(prediction.losses[name]) == pytest.approx(float(value), rel=1e-6), name
    assert float(expected["reconstruction"]) > 0.1


@pytest.mark.parametrize(
    ("method", "progress", "weight"),
    [
        (Puzzle(), 0.0, 0.0),
        (Puzzle(), 0.125, 1.0),
        (Puzzle(), 0.5, 4.0),
        (Puzzle(), 0.99, 4.0),
        (Puzzle(reconstruction=2.0, ramp=1.0), 0.25, 0.5),
        (Puzzle(reconstruction=2.0, ramp=1.0), 0.99, 1.98),
        (Puzzle(reconstruction=0.0), 0.9, 0.0),
    ],
)
def test_the_reconstruction_is_ramped_up(method, progress, weight):
    prediction = jax.jit(lambda batch: method.predict(network(), batch, KEY))(batch_at(progress))
    assert float(prediction.weights["reconstruction"]) == pytest.approx(weight)
    losses = {name: float(value) for name, value in prediction.losses.items()}
    assert float(total_loss(prediction)) == pytest.approx(
        losses["classification"]
        + losses["classification_tiles"]
        + weight * losses["reconstruction"],
        rel=1e-5,
    )


@pytest.mark.parametrize(
    "fields", [{"ramp": 0.0}, {"ramp": 1.5}, {"ramp": float("nan")}, {"reconstruction": -1.0}]
)
def test_settings_that_mean_nothing_are_refused(fields):
    (name,) = fields
    with pytest.raises(InputError, match=rf"config\.method\.puzzle\.{name} = .* must be"):
        Puzzle(**fields)


def test_hfpl_changes_the_photographs_classification_alone():
    """Not that of the tiles; and its own terms are of the photographs' logits."""
    batch = batch_at(0.75)
    hfpl = Hfpl(Puzzle(), isl_weight=0.2, fsl_weight=0.7, sigma=1.5)
    plain, combined = (
        jax.jit(lambda batch, method=method: method.predict(network(), batch, KEY))(batch)
        for method in (Puzzle(), hfpl)
    )
    added = hfpl.add(plain, batch, jax.random.fold_in(KEY, 0))
    assert set(combined.losses) == {*TERMS, "feature_similarity"}
    for name, value in combined.losses.items():
        assert float(value) == pytest.approx(float(added.losses[name]), rel=1e-5), name
    for name in TERMS:
        changed = float(combined.losses[name]) != pytest.approx(float(plain.losses[name]))
        assert changed == (name == "classification"), name
    assert {name: float(weight) for name, weight in combined.weights.items()} == {
        "classification": 1.0,
        "classification_tiles": 1.0,
        "reconstruction": 4.0,
        "feature_similarity": pytest.approx(0.7),
    }


def test_gradient_reaches_the_network_through_both_maps():
    """Each of the three terms alone; only the first knows nothing of the tiles."""
    batch = batch_at(0.5)

    @jax.jit
    @jax.jacfwd
    def slopes(scales):
        count = iter(scales)

        def apply(images, **options):
            return Output(next(count) * network()(images).logits)

        return Puzzle().predict(apply, batch, KEY).losses

    for name, slope in slopes(jnp.ones(2)).items():
        reached = [abs(float(value)) > 1e-4 for value in slope]
        assert reached == [name != "classification_tiles", name != "classification"], name


class Block(nn.Module):
    """A convolution, which sees the zeros around a tile, and its normalisation."""

    head_feature: str = "block"

    @nn.compact
    def __call__(self, images, sizes, use_running_average, deterministic):
        normalised, _ = ConvBatchNorm(6, 3, name="conv")(images, sizes, use_running_average)
        return {"block": normalised}


def test_statistics_are_those_of_the_images_and_then_of_the_tiles():
    batch = batch_at(0.5)
    network = Puzzle().network(Block(), 4, frozen_batch_norm=False, dropout=0.0)
    variables = network.init(jax.random.key(0), batch.images)
    stored = [variables["batch_stats"]]

    def apply(images, **options):
        now = {"params": variables["params"], "batch_stats": stored[-1]}
        output, changed = network.apply(now, images, **options, mutable=["batch_stats"])
        stored.append(changed["batch_stats"])
        return output

    Puzzle().predict(apply, batch, KEY)
    kernel = variables["params"]["backbone"]["conv"]["kernel"]
    means, expected = [], {"mean": 0.0, "var": 1.0}
    for images in (batch.images, tile(batch.images)):
        convolved = np.asarray(convolve(images, kernel, 1, 1), np.float64)
        means.append(convolved.mean((0, 1, 2)))
        expected = {
            "mean": 0.9 * expected["mean"] + 0.1 * means[-1],
            "var": 0.9 * expected["var"] + 0.1 * convolved.var((0, 1, 2), ddof=1),
        }
    assert np.abs(means[0] - means[1]).max() > 1e-3
    for name, value in expected.items():
        assert_close(stored[-1]["backbone"]["conv"][name], value)


def test_published_groups_of_parameters():
    """Learning rates and weight decays: 0.1 for the backbone, 0.2 and none for its
    shifts, 1.0 for the head; scales count as weights.
    """
    whole = recipe("puzzle", "published")
    whole.model.weights = "resnet50.safetensors"
    config, network = whole.train, build_network(whole, 20)
    assert network.frozen_batch_norm is False
    groups = {}
    for path in flatten(variable_shapes(network)["params"]):
        factor = next(
            (value for pattern, value in config.multipliers if re.search(pattern, path)), 1.0
        )
        decayed = not any(re.search(pattern, path) for pattern in config.no_decay)
        kind = "head" if path.startswith("head/") else path.rpartition("/")[2]
        groups.setdefault(kind, set()).add(
            (factor * config.learning_rate, config.weight_decay * decayed)
        )
    assert groups == {
        "kernel": {(0.1, 1e-4)},
        "scale": {(0.1, 1e-4)},
        "bias": {(0.2, 0.0)},
        "head": {(1.0, 1e-4)},
    }


class Pool(nn.Module):
    """Means of 8x8 pixels in many channels, and what it was called with."""

    head_feature: str = "pool"

    @nn.compact
    def __call__(self, images, sizes, use_running_average, deterministic):
        pool = jnp.tile(nn.avg_pool(images, (8, 8), strides=(8, 8)), 200)
        return {"pool": pool, "running": jnp.full((1,), use_running_average)}


@pytest.mark.parametrize("frozen", [False, True])
def test_network(frozen):
    """A Kaiming-normal classifier of one parameter, with the recipe's statistics."""
    made = Puzzle().network(Pool(), 100, frozen_batch_norm=frozen, dropout=0.25)
    assert made.dropout == 0.25
    images = jnp.asarray(np.random.default_rng(0).normal(size=(1, 16, 16, 3)), jnp.float32)
    variables = made.init(jax.random.key(0), images)
    assert jax.tree.map(jnp.shape, variables) == {"params": {"head": {"kernel": (600, 100)}}}
    kernel = np.asarray(variables["params"]["head"]["kernel"])
    spread = np.sqrt(2 / 600)
    assert kernel.std() == pytest.approx(spread, rel=0.02)
    assert np.abs(kernel).max() > 3.5 * spread  # normal, neither uniform nor truncated at 2
    output = made.apply(variables, images, train=True, rngs={"dropout": KEY})
    assert bool(output.features["running"][0]) is frozen


@pytest.mark.parametrize(
    ("crop", "stride", "cure"),
    [
        (500, 16, "480 or 512, a multiple of 32"),
        (448 + 16, 16, "448 or 480, a multiple of 32"),
        (24, 16, "32, a multiple of 32"),
        (97, 8, "96 or 112, a multiple of 16"),
    ],
)
def test_a_crop_that_cannot_be_cut_into_tiles_of_whole_cells(crop, stride, cure):
    config = default_config()
    config.method.name = "puzzle"
    config.model.resnet.output_stride = stride
    config.train.crop_size = crop
    sentence = (
        rf"config\.train\.crop_size = {crop} cannot be cut into PuzzleCAM's tiles: .* output "
        rf"stride, {stride} pixels\. Set it to {cure}\."
    )
    with pytest.raises(InputError, match=sentence):
        Settings.of(config)
    for size in {int(word) for word in cure.replace(",", "").split() if word.isdigit()}:
        config.train.crop_size = size
        assert Settings.of(config).train.crop_size == size


def test_maps_are_rectified_before_mirrored_ones_are_added():
    output = Output(jnp.asarray([[[[-1.0, 2.0], [3.0, -4.0]]]]))
    maps = Puzzle().maps(lambda images, sizes: output, jnp.zeros((1, 4, 8, 3)), jnp.ones((1, 2)))
    np.testing.assert_array_equal(maps.cams, [[[[0.0, 2.0], [3.0, 0.0]]]])
    np.testing.assert_array_equal(maps.logits, output.logits)
    assert not Puzzle.fuses_flips  # so they are added up one after the other


def enlarged(maps, height, width):
    """As torch.nn.functional.interpolate does without aligned corners, pixel by
    pixel.
    """
    h, w, n = maps.shape
    found = np.zeros((height, width, n))
    for row in range(height):
        for column in range(width):
            y = min(max((row + 0.5) * h / height - 0.5, 0.0), h - 1)
            x = min(max((column + 0.5) * w / width - 0.5, 0.0), w - 1)
            top, left = int(y), int(x)
            bottom, right = min(top + 1, h - 1), min(left + 1, w - 1)
            upper = maps[top, left] * (1 - x + left) + maps[top, right] * (x - left)
            lower = maps[bottom, left] * (1 - x + left) + maps[bottom, right] * (x - left)
            found[row, column] = upper * (1 - y + top) + lower * (y - top)
    return found


@pytest.mark.parametrize(("stride", "whole"), [(16, (32, 48)), (8, (32, 40))])
def test_scales_are_merged_on_the_grid_of_the_photograph(stride, whole):
    size, scaled = (29, 37), [(14, 18), (29, 37), (58, 74)]
    rng = np.random.default_rng(0)
    maps = [
        rng.random((-(-height // stride), -(-width // stride), 4)).astype(np.float32)
        for height, width in scaled
    ]
    maps = [of_scale * [1.0, 5.0, 0.0, 0.01] for of_scale in maps]
    classes = np.array([1, 2, 3])
    found = Puzzle().merge(maps, classes, scaled, size, stride)
    summed = sum(enlarged(of_scale[..., classes], *whole) for of_scale in maps)[:29, :37]
    expected = summed / (summed.max((0, 1)) + 1e-5)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, atol=1e-5)
    # A minimum is not subtracted, and a class without evidence is at 0.
    assert found[..., 0].min() > 0.05
    assert found[..., 1].max() == 0.0
    assert 0.999 < found[..., 2].max() < 1.0


def test_a_photograph_of_background_has_no_maps():
    maps = [np.ones((2, 3, 4), np.float32)]
    found = Puzzle().merge(maps, np.array([], np.int64), [(29, 37)], (29, 37), 16)
    assert found.shape == (29, 37, 0)
