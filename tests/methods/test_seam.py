import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jaxtyping import TypeCheckError

from hfpl_jax.errors import InputError
from hfpl_jax.losses import min_pooling_loss
from hfpl_jax.methods.hfpl import Hfpl
from hfpl_jax.methods.seam import WEIGHTS, Seam, seam_losses
from hfpl_jax.resize import resize_bilinear
from hfpl_jax.training.objective import Batch, Prediction, total_loss

CLASSES, STRIDE = 4, 16
KEY = jax.random.key(3)


class Output(NamedTuple):
    logits: jax.Array
    corrected: jax.Array


def parameters():
    rng = np.random.default_rng(5)
    shapes = {"head": (3, CLASSES), "correlation": (3, CLASSES + 1)}
    return {
        name: jnp.asarray(rng.normal(size=shape), jnp.float32) for name, shape in shapes.items()
    }


def network(params, seen=None, dtype=jnp.float32):
    """Output stride 16: colours times a matrix; the corrected maps are positive and
    have parameters of their own.
    """

    def apply(images, *, train=False):
        if seen is not None:
            seen.append((images.shape, train))
        small = resize_bilinear(
            images, tuple(-(-side // STRIDE) for side in images.shape[1:3]), align_corners=True
        )
        return Output(
            (small @ params["head"]).astype(dtype),
            jax.nn.softplus(small @ params["correlation"]).astype(dtype),
        )

    return apply


@pytest.fixture(scope="module")
def batch():
    labels = jnp.asarray([[1, 0, 1, 0], [0, 1, 1, 1]], jnp.float32)
    images = jnp.asarray(np.random.default_rng(0).normal(0, 2, (2, 48, 64, 3)), jnp.float32)
    return Batch(images, labels, jnp.ones((2, 48, 64), bool), jnp.zeros(()))


def test_floors_bound_the_scores_of_cams_and_of_corrected_maps():
    """CAMs and corrected maps a hundred times too low have scores a hundred times as
    low, not the same ones, and the gradients of their losses are no longer.
    """
    rng = np.random.default_rng(2)
    shapes = ((2, 8, 8, 3), (2, 8, 8, 4), (2, 4, 4, 3), (2, 4, 4, 4))
    maps = [jnp.asarray(rng.random(shape), jnp.float32) for shape in shapes]
    floored = functools.partial(seam_losses, peak_floor=1.0, corrected_floor=1.0)

    def made_of(losses):
        """The two terms, and the longest of the second one's gradients to the corrected
        maps, as functions of the maps' scale.
        """

        def value(maps):
            terms = losses(*maps, jnp.ones((2, 3)))
            return terms["equivariant_cross"], terms["equivariance"]

        compiled = jax.jit(jax.value_and_grad(value, has_aux=True))

        def at(scale):
            (cross, equivariance), gradients = compiled([scale * one for one in maps])
            longest = max(float(jnp.abs(gradients[index]).max()) for index in (1, 3))
            return float(equivariance), float(cross), longest

        return at

    published, bounded = made_of(seam_losses), made_of(floored)
    assert published(1e-2)[:2] == pytest.approx(published(1.0)[:2], rel=0.01)
    assert bounded(1e-2)[0] == pytest.approx(1e-2 * bounded(1.0)[0], rel=0.01)
    assert published(1e-4)[2] > 1e3 * bounded(1e-4)[2] > 0


def test_minimum_pooling_of_both_views():
    """The published program's random maps leave this term at 0, so it is looked at
    here.
    """
    rng = np.random.default_rng(0)
    cam1, corrected1, cam2, corrected2 = (
        jnp.asarray(rng.uniform(0.1, 1, shape), jnp.float32)
        for shape in [(2, 20, 30, 3), (2, 20, 30, 4), (2, 6, 9, 3), (2, 6, 9, 4)]
    )
    labels = np.array([[1, 0, 1], [0, 1, 0]])
    first, second = (
        float(min_pooling_loss(corrected[..., 1:], labels))
        for corrected in (corrected1, corrected2)
    )
    losses = jax.jit(seam_losses)(cam1, corrected1, cam2, corrected2, labels)
    assert min(first, second) > 0.1
    assert float(losses["min_pooling"]) == pytest.approx(first + second, rel=1e-6)


def test_corrected_maps_need_their_background():
    maps = [
        jnp.ones((1, size, size, channels)) for size, channels in [(8, 3), (8, 3), (4, 3), (4, 3)]
    ]
    with pytest.raises(TypeCheckError, match="corrected1"):
        seam_losses(*maps, jnp.ones((1, 3)))


def test_total_is_the_published_one():
    """(cls1 + cls2)/2 + (rvmin1 + rvmin2)/2 + er + ecr."""
    names = (
        "classification",
        "classification_view2",
        "min_pooling",
        "equivariance",
        "equivariant_cross",
    )
    losses = dict(zip(names, (2.0, 3.0, 7.0, 0.11, 0.013), strict=True))
    total = total_loss(Prediction(jnp.zeros((1, 1, 1, 1)), losses, WEIGHTS))
    assert float(total) == pytest.approx((2.0 + 3.0) / 2 + 7.0 / 2 + 0.11 + 0.013)


def test_predict_compares_the_two_views_at_the_size_of_the_second(batch):
    seen = []
    method = Seam(peak_floor=0.5, corrected_floor=0.2)
    prediction = jax.jit(lambda batch: method.predict(network(parameters(), seen), batch, KEY))(
        batch
    )
    assert seen == [((2, 48, 64, 3), True), ((2, 14, 19, 3), True)]
    assert prediction.logits.shape == (2, 3, 4, CLASSES)

    view2 = resize_bilinear(batch.images, (14, 19), align_corners=True)
    first, second = (network(parameters())(images) for images in (batch.images, view2))
    np.testing.assert_allclose(prediction.logits, first.logits, rtol=1e-5, atol=1e-5)
    enlarged1 = [resize_bilinear(maps, (48, 64), align_corners=True) for maps in first]
    enlarged2 = [resize_bilinear(maps, (14, 19), align_corners=True) for maps in second]
    floors = {"peak_floor": 0.5, "corrected_floor": 0.2}
    expected = jax.jit(functools.partial(seam_losses, **floors))(
        *enlarged1, *enlarged2, batch.labels
    )
    assert set(prediction.losses) == set(expected)
    assert prediction.weights == WEIGHTS
    for name, value in expected.items():
        assert float(prediction.losses[name]) == pytest.approx(float(value), rel=1e-5), name
        assert float(value) > 1e-3, name


def test_published_crop_has_a_second_view_of_134_pixels():
    seen = []
    batch = Batch(
        jax.ShapeDtypeStruct((8, 448, 448, 3), jnp.float32),
        jax.ShapeDtypeStruct((8, CLASSES), jnp.float32),
        jax.ShapeDtypeStruct((8, 448, 448), bool),
        jax.ShapeDtypeStruct((), jnp.float32),
    )
    jax.eval_shape(lambda batch: Seam().predict(network(parameters(), seen), batch, KEY), batch)
    assert [shape for shape, _ in seen] == [(8, 448, 448, 3), (8, 134, 134, 3)]


def test_second_view_of_another_size(batch):
    seen = []
    jax.eval_shape(
        lambda batch: Seam(view_scale=0.6).predict(network(parameters(), seen), batch, KEY), batch
    )
    assert [shape for shape, _ in seen] == [(2, 48, 64, 3), (2, 28, 38, 3)]


@pytest.mark.parametrize("scale", [0.0, -0.3, 1.5, float("nan")])
def test_a_second_view_of_no_size_is_refused(scale):
    with pytest.raises(InputError, match=r"method\.seam\.view_scale = .* must be .*above 0"):
        Seam(view_scale=scale)


def test_gradient_reaches_the_network_through_every_term(batch):
    method = Hfpl(Seam(), isl_weight=0.2, fsl_weight=1.0, sigma=2.5)

    @jax.jit
    @jax.jacrev
    def slopes(params):
        return method.predict(network(params), batch, KEY).losses

    reached = {"equivariant_cross": "correlation", "min_pooling": "correlation"}
    found = slopes(parameters())
    assert set(found) == {*WEIGHTS, "feature_similarity"}
    for name, slope in found.items():
        for params, values in slope.items():
            assert np.isfinite(values).all(), name
            # The CAM teaches the corrected maps and does not learn from them.
            assert bool(jnp.any(jnp.abs(values) > 1e-6)) == (params == reached.get(name, "head")), (
                name,
                params,
            )


def test_hfpl_works_on_view_one(batch):
    """Its terms are those of the first view's logits; SEAM's others do not change."""
    hfpl = Hfpl(Seam(), isl_weight=0.2, fsl_weight=1.0, sigma=2.5)

    @jax.jit
    def compute(batch):
        plain = Seam().predict(network(parameters()), batch, KEY)
        return (
            plain,
            hfpl.predict(network(parameters()), batch, KEY),
            hfpl.add(plain, batch, jax.random.fold_in(KEY, 0)),
        )

    plain, combined, added = compute(batch)
    assert combined.weights == {**WEIGHTS, "feature_similarity": 1.0}
    for name, value in added.losses.items():
        assert float(combined.losses[name]) == pytest.approx(float(value), rel=1e-5), name
        if name in plain.losses:
            assert (float(value) == float(plain.losses[name])) == (name != "classification"), name


def test_bfloat16_maps_are_enlarged_in_float32(batch):
    def rounded(images, **options):
        return Output(
            *(
                maps.astype(jnp.float32)
                for maps in network(parameters(), dtype=jnp.bfloat16)(images, **options)
            )
        )

    def of(apply):
        return jax.jit(lambda batch: Seam().predict(apply, batch, KEY))(batch)

    low, high = of(network(parameters(), dtype=jnp.bfloat16)), of(rounded)
    assert (low.logits.dtype, high.logits.dtype) == (jnp.bfloat16, jnp.float32)
    for name, value in high.losses.items():
        assert low.losses[name].dtype == jnp.float32
        assert float(low.losses[name]) == pytest.approx(float(value), rel=1e-6), name


def test_cams_are_the_corrected_maps(batch):
    output = network(parameters())(batch.images)
    maps = Seam().maps(lambda images, sizes: output, batch.images, jnp.asarray([[48, 64]] * 2))
    np.testing.assert_array_equal(maps.cams, output.corrected[..., 1:])
    np.testing.assert_array_equal(maps.logits, output.logits)
