from typing import NamedTuple

import contrast_oracle as oracle
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from end_to_end import recipe
from jax.sharding import AxisType, Mesh
from loss_oracles import assert_close

from hfpl_jax.build import build_network, build_objective
from hfpl_jax.errors import InputError
from hfpl_jax.losses import draw_half
from hfpl_jax.methods.hfpl import Hfpl
from hfpl_jax.methods.ppc import Ppc, contrast_losses
from hfpl_jax.methods.seam import WEIGHTS, Seam
from hfpl_jax.resize import resize_bilinear
from hfpl_jax.runtime.sharding import batch_sharding
from hfpl_jax.training.objective import Batch

KEY = jax.random.key(3)
TERMS = {"cross_prototype", "cross_cam", "intra_view"}


class Output(NamedTuple):
    logits: jax.Array
    corrected: jax.Array
    projection: jax.Array


def random_views(shape, channels=6, seed=0):
    """Features and corrected maps of two views, and labels; no two pixels are alike."""
    rng = np.random.default_rng(seed)
    features, corrected = (
        tuple(rng.random((*shape[:3], k)).astype(np.float32) for _ in range(2))
        for k in (channels, shape[3])
    )
    labels = (rng.random((shape[0], shape[3] - 1)) < 0.5).astype(np.float32)
    return features, corrected, labels


def expected_terms(features, corrected, labels, drawn, background=0.2, temperature=0.1):
    """Values, and gradients to both views' features, one sum after the other."""
    scores = [oracle.scores(maps, background) for maps in corrected]
    classes = [oracle.classes(each, labels) for each in scores]
    prototypes = [oracle.prototypes(*each) for each in zip(features, scores, strict=True)]
    found = {name: (0.0, []) for name in TERMS}
    for own, other in ((0, 1), (1, 0)):
        terms = {
            "cross_prototype": (oracle.contrast, prototypes[other], classes[own]),
            "cross_cam": (oracle.contrast, prototypes[own], classes[other]),
            "intra_view": (oracle.intra_view, prototypes[own], classes[own], drawn[own]),
        }
        for name, (loss, *given) in terms.items():
            value, slope = loss(features[own], *given, temperature=temperature)
            found[name] = found[name][0] + value / 2, [*found[name][1], slope / 2]
    return found


def with_slopes(**options):
    """Compiled: gradients of the terms to both views' features, and the terms."""

    def twice(*given):
        losses = contrast_losses(*given, **options)
        return losses, losses

    return jax.jit(jax.jacrev(twice, has_aux=True))


@pytest.mark.parametrize(
    ("shape", "options"),
    [((3, 4, 5, 4), {}), ((2, 6, 6, 15), {"background": 0.5, "temperature": 0.5})],
)
def test_terms_and_gradients(shape, options):
    features, corrected, labels = random_views(shape)
    drawn = tuple(np.random.default_rng(1).random((2, *shape[:3])) < 0.5)
    slopes, losses = with_slopes(drawn=drawn, **options)(features, corrected, labels, KEY)
    assert set(losses) == TERMS
    for name, (value, expected) in expected_terms(
        features, corrected, labels, drawn, **options
    ).items():
        assert float(losses[name]) == pytest.approx(value, rel=1e-5, abs=1e-6), name
        for slope, slope_expected in zip(slopes[name], expected, strict=True):
            assert_close(slope, slope_expected, 3e-5)


def test_views_have_draws_of_their_own():
    """And another key draws others, which changes the intra-view term alone."""
    features, corrected, labels = random_views((3, 4, 5, 6))
    classes = [oracle.classes(oracle.scores(maps), labels) for maps in corrected]
    keys = jax.random.split(KEY)
    drawn = [np.asarray(draw_half(*each)) for each in zip(keys, classes, strict=True)]
    expected = expected_terms(features, corrected, labels, drawn)
    terms = jax.jit(contrast_losses)
    found, other = (terms(features, corrected, labels, key) for key in (KEY, jax.random.key(4)))
    for name, (value, _) in expected.items():
        assert float(found[name]) == pytest.approx(value, rel=1e-5), name
        assert (float(other[name]) == float(found[name])) == (name != "intra_view"), name


def test_a_divided_batch_gives_the_same_numbers():
    """Prototypes, classes, draws and the hard pixels are of the global batch: those of
    each device's own images would be others.
    """
    features, corrected, labels = random_views((8, 5, 6, 7))
    step = jax.jit(jax.value_and_grad(lambda *given: sum(contrast_losses(*given).values())))
    value, slopes = step(features, corrected, labels, KEY)
    mesh = Mesh(np.array(jax.devices()), ("data",), axis_types=(AxisType.Auto,))
    assert mesh.size == 8
    divided = jax.device_put((features, corrected, labels), batch_sharding(mesh))
    value_divided, slopes_divided = step(*divided, KEY)
    assert float(value_divided) == pytest.approx(float(value), rel=1e-6)
    for slope, expected in zip(slopes_divided, slopes, strict=True):
        assert_close(slope, expected, 1e-5)


EMPTY = {
    "zero features": (0.0, 1.0),
    "zero maps": (1.0, 0.0),
    "nothing": (0.0, 0.0),
}
"""What random features and maps are multiplied by."""


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
@pytest.mark.parametrize("size", [(1, 1, 1), (2, 3, 4)])
def test_empty_maps_features_and_labels_have_finite_gradients(size, dtype):
    random, step = np.random.default_rng(0), with_slopes()
    views = random.random((2, *size, 4)), random.random((2, *size, 5))
    alike = [np.ones_like(view) for view in views]
    cases = {
        name: [factor * view for factor, view in zip(factors, views, strict=True)]
        for name, factors in EMPTY.items()
    }
    for name, pair in {**cases, "all alike": alike}.items():
        features, corrected = (tuple(jnp.asarray(view, dtype)) for view in pair)
        for present in (0.0, 1.0):
            labels = jnp.full((size[0], 4), present)
            slopes, losses = step(features, corrected, labels, KEY)
            for term, value in losses.items():
                assert value.dtype == jnp.float32
                assert np.isfinite(value), (name, term)
                for slope in slopes[term]:
                    assert slope.dtype == dtype
                    assert np.isfinite(slope.astype(jnp.float32)).all(), (name, term)


def network(params):
    """Output stride 16: colours times a matrix for each output."""

    def apply(images, *, train=False):
        size = tuple(-(-side // 16) for side in images.shape[1:3])
        small = resize_bilinear(images, size, align_corners=True)
        return Output(
            small @ params["head"],
            jax.nn.softplus(small @ params["correlation"]),
            jax.nn.relu(small @ params["projection"] + 0.5),
        )

    return apply


def parameters():
    rng = np.random.default_rng(5)
    shapes = {"head": (3, 4), "correlation": (3, 5), "projection": (3, 8)}
    return {
        name: jnp.asarray(rng.normal(size=shape), jnp.float32) for name, shape in shapes.items()
    }


@pytest.fixture(scope="module")
def batch():
    labels = jnp.asarray([[1, 0, 1, 0], [0, 1, 1, 1]], jnp.float32)
    images = jnp.asarray(np.random.default_rng(0).normal(0, 2, (2, 96, 112, 3)), jnp.float32)
    return Batch(images, labels, jnp.ones((2, 96, 112), bool), jnp.zeros(()))


def test_contrast_is_added_to_seam_at_the_maps_of_view_two(batch):
    method = Ppc(view_scale=0.5, contrast=0.3, background=0.4, temperature=0.2)
    of_seam = Seam(view_scale=0.5)

    @jax.jit
    def both(batch):
        return tuple(each.predict(network(parameters()), batch, KEY) for each in (method, of_seam))

    prediction, plain = both(batch)
    assert prediction.weights == {**WEIGHTS, **dict.fromkeys(TERMS, 0.3)}
    np.testing.assert_array_equal(prediction.logits, plain.logits)
    view2 = resize_bilinear(batch.images, (48, 56), align_corners=True)
    first, second = (network(parameters())(images) for images in (batch.images, view2))
    assert second.corrected.shape[1:3] == (3, 4)
    features, corrected = (
        (resize_bilinear(maps1, (3, 4), align_corners=True), maps2)
        for maps1, maps2 in zip(first[:0:-1], second[:0:-1], strict=True)
    )
    added = contrast_losses(features, corrected, batch.labels, KEY, background=0.4, temperature=0.2)
    for name, value in {**plain.losses, **added}.items():
        assert float(prediction.losses[name]) == pytest.approx(float(value), rel=1e-5), name
    assert set(prediction.losses) == {*WEIGHTS, *TERMS}


def test_gradients_of_contrast_reach_the_projection_alone(batch):
    """And the add-on's terms are those of SEAM's: it knows nothing of contrast."""
    method = Hfpl(Ppc(), isl_weight=0.2, fsl_weight=1.0, sigma=2.5)

    @jax.jit
    @jax.jacrev
    def slopes(params):
        return method.predict(network(params), batch, KEY).losses

    found = slopes(parameters())
    assert set(found) == {*WEIGHTS, *TERMS, "feature_similarity"}
    for name, slope in found.items():
        reached = bool(jnp.any(jnp.abs(slope["projection"]) > 1e-6))
        assert reached == (name in TERMS), name
        assert name not in TERMS or not any(slope[each].any() for each in ("head", "correlation"))


def test_the_published_second_view_has_128_pixels():
    seen = []

    def apply(images, *, train):
        seen.append(images.shape)
        return network(parameters())(images)

    images = jax.ShapeDtypeStruct((8, 448, 448, 3), jnp.float32)
    labels = jax.ShapeDtypeStruct((8, 4), jnp.float32)
    batch = Batch(images, labels, jax.ShapeDtypeStruct(images.shape[:3], bool), jnp.zeros(()))
    jax.eval_shape(lambda *arrays: Ppc().predict(apply, Batch(*arrays), KEY), *batch[:4])
    assert seen == [(8, 448, 448, 3), (8, 128, 128, 3)]


@pytest.mark.parametrize(
    "fields",
    [
        {"contrast": -0.1},
        {"background": 1.5},
        {"background": 0.0},
        {"temperature": 0.0},
        {"view_scale": 0.0},
    ],
)
def test_settings_that_mean_nothing_are_refused(fields):
    (name,) = fields
    with pytest.raises(InputError, match=rf"config\.method\.ppc\.{name} = .* must be"):
        Ppc(**fields)


def test_a_crop_without_a_second_view_is_told_of_ppc():
    with pytest.raises(InputError, match=r"method\.ppc\.view_scale = 0\.1 of .*PPC's second view"):
        Ppc(view_scale=0.1).check_crop(9, 16)


def test_the_recipe_as_published():
    config = recipe("ppc", "published,isl=0,fsl=0")
    config.model.weights = "ilsvrc.params"
    assert build_objective(config) == Ppc(peak_floor=0.0, corrected_floor=0.0)
    made = build_network(config, 20)
    assert (made.projection_channels, made.dropout, made.frozen_batch_norm) == (128, 0.5, True)
    train = config.train
    assert (train.sgd.momentum, train.learning_rate, train.weight_decay) == (5e-4, 0.01, 5e-4)
    assert (train.epochs, train.batch_size, train.crop_size) == (8, 8, 448)
    assert tuple(train.resize_long) == (448, 768)
    assert (train.clip, train.skip_above, config.labels.threshold) == (0.0, 0.0, "0.26")
    assert isinstance(build_objective(recipe("ppc", "")), Hfpl)
