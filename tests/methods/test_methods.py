import dataclasses
from collections.abc import Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hfpl_jax.losses import (
    feature_similarity_loss,
    gap_loss,
    importance_sampling_loss,
    sampled_loss,
    similarity_scores,
)
from hfpl_jax.methods.cam import Cam
from hfpl_jax.methods.hfpl import Hfpl
from hfpl_jax.models.preprocess import colours
from hfpl_jax.resize import resize_bilinear
from hfpl_jax.training.objective import Batch, Objective, Prediction, total_loss


class Output(NamedTuple):
    logits: jax.Array


def apply(images, *, train=False):
    """A network: the mean of every 4x4 block of pixels, four classes."""
    b, h, w, _ = images.shape
    pooled = images.reshape(b, h // 4, 4, w // 4, 4, 3).mean((2, 4))
    mixed = pooled @ jnp.asarray(np.random.default_rng(5).normal(size=(3, 4)), jnp.float32)
    return Output(mixed * (1.0 if train else 2.0))


@dataclasses.dataclass(frozen=True)
class TwoViews(Objective):
    """A made-up method in the manner of SEAM: two views, an equivariance term, a random
    one, and classification at half weight.
    """

    equivariance: float = 3.0

    def predict(self, apply, batch, key):
        first = apply(batch.images, train=True).logits
        second = apply(
            resize_bilinear(batch.images, (8, 12), align_corners=True), train=True
        ).logits
        losses = {
            "classification": gap_loss(first, batch.labels),
            "equivariance": jnp.mean(
                jnp.abs(resize_bilinear(first, second.shape[1:3], align_corners=True) - second)
            ),
            "noise": jax.random.normal(key) * jnp.mean(first),
        }
        weights = {"classification": 0.5, "equivariance": self.equivariance, "noise": 0.1}
        return Prediction(first, losses, weights)


METHODS = (Cam(), TwoViews())


@pytest.fixture(scope="module")
def batch():
    rng = np.random.default_rng(0)
    labels = jnp.asarray([[1, 0, 1, 0], [0, 0, 0, 1]], jnp.float32)
    images = jnp.asarray(rng.normal(0, 2, (2, 16, 24, 3)), jnp.float32)
    return Batch(images, labels, jnp.ones((2, 16, 24), bool), jnp.zeros(()))


KEY = jax.random.key(3)


def assert_same(first: Mapping, second: Mapping):
    assert set(first) == set(second)
    for name in first:
        assert float(first[name]) == pytest.approx(float(second[name]), rel=1e-6), name


@pytest.mark.parametrize("method", METHODS)
def test_without_weights_the_method_is_unchanged(method, batch):
    hfpl = Hfpl(method, isl_weight=0.0, fsl_weight=0.0)
    plain = method.predict(apply, batch, jax.random.fold_in(KEY, 1))
    combined = jax.jit(lambda batch: hfpl.predict(apply, batch, KEY))(batch)
    assert combined.weights == plain.weights
    assert_same(combined.losses, plain.losses)
    assert float(total_loss(combined)) == pytest.approx(float(total_loss(plain)), rel=1e-6)
    np.testing.assert_allclose(combined.logits, plain.logits, rtol=1e-6)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("share", [0.2, 1.0])
def test_both_losses_are_added_exactly(method, share, batch):
    options = {"mu": 2.0, "sigma": 1.5, "window": 3}
    hfpl = Hfpl(method, isl_weight=share, fsl_weight=0.7, num_samples=5, **options)
    plain = method.predict(apply, batch, jax.random.fold_in(KEY, 1))
    combined = jax.jit(lambda batch: hfpl.predict(apply, batch, KEY))(batch)
    sampled = importance_sampling_loss(
        jax.random.fold_in(KEY, 0), plain.logits, batch.labels, num_samples=5
    )
    similarity = feature_similarity_loss(
        colours(batch.images, (4, 6)), similarity_scores(plain.logits, batch.labels), **options
    )
    mixed = (1 - share) * plain.losses["classification"] + share * sampled
    assert_same(
        combined.losses, {**plain.losses, "classification": mixed, "feature_similarity": similarity}
    )
    assert combined.weights == {**plain.weights, "feature_similarity": 0.7}
    changed = (
        plain.weights["classification"] * (mixed - plain.losses["classification"])
        + 0.7 * similarity
    )
    assert float(total_loss(combined)) == pytest.approx(
        float(total_loss(plain) + changed), rel=1e-5
    )


def test_a_peak_floor_reaches_the_scores(batch):
    hfpl = Hfpl(Cam(), isl_weight=0.0, fsl_weight=1.0, sigma=1.5, peak_floor=4.0)
    prediction = hfpl.predict(apply, batch, KEY)
    scores = similarity_scores(prediction.logits, batch.labels, peak_floor=4.0)
    expected = feature_similarity_loss(colours(batch.images, (4, 6)), scores, sigma=1.5)
    assert float(prediction.losses["feature_similarity"]) == pytest.approx(float(expected))


def test_sampling_follows_the_key(batch):
    hfpl = Hfpl(Cam(), isl_weight=1.0, fsl_weight=0.0)
    loss = jax.jit(lambda key: hfpl.predict(apply, batch, key).losses["classification"])
    losses = [float(loss(key)) for key in (KEY, KEY, jax.random.key(4))]
    assert losses[0] == losses[1] != losses[2]


def test_pixels_may_be_drawn_in_another_way(batch):
    """At the pixels it is told, and from the logits, key and number of draws that the
    method has."""
    asked = {}

    def first_pixels(key, logits, *, num_samples):
        asked.update(key=key, logits=logits, num_samples=num_samples)
        return jnp.broadcast_to(jnp.arange(num_samples), (2, 4, num_samples))

    hfpl = Hfpl(Cam(), isl_weight=1.0, fsl_weight=0.0, num_samples=3, sample=first_pixels)
    prediction = hfpl.add(Cam().predict(apply, batch, KEY), batch, KEY)
    expected = sampled_loss(
        prediction.logits, batch.labels, jnp.broadcast_to(jnp.arange(3), (2, 4, 3))
    )
    assert float(prediction.losses["classification"]) == pytest.approx(float(expected), rel=1e-6)
    assert (asked["key"], asked["num_samples"]) == (KEY, 3)
    assert asked["logits"] is prediction.logits


def test_gradient_reaches_the_network_through_every_term(batch):
    hfpl = Hfpl(TwoViews(), isl_weight=0.2, fsl_weight=1.0)

    @jax.jit
    @jax.jacfwd
    def slopes(scale):
        def scaled(images, **options):
            return Output(scale * apply(images, **options).logits)

        return hfpl.predict(scaled, batch, KEY).losses

    found = slopes(1.0)
    assert set(found) == {"classification", "equivariance", "noise", "feature_similarity"}
    for name in found:
        # A scale does not change normalised scores beyond the epsilon: the feature
        # similarity loss hardly sees it.
        assert abs(float(found[name])) > (1e-12 if name == "feature_similarity" else 1e-4), name


class Counting(Cam):
    """Carries a number that tells what it was handed."""

    def first_carried(self, params):
        return {"seen": len(params)}

    def next_carried(self, carried, params, prediction, progress):
        return {"seen": carried["seen"] + len(params) + len(prediction.losses)}


def test_what_the_method_carries_is_carried_under_the_add_on():
    hfpl = Hfpl(Counting(), isl_weight=0.2, fsl_weight=1.0)
    first = hfpl.first_carried({"student": 0, "teacher": 1})
    assert first == {"seen": 2}
    prediction = Prediction(jnp.zeros(()), {"classification": jnp.zeros(())}, {})
    assert hfpl.next_carried(first, {"student": 0}, prediction, jnp.zeros(())) == {"seen": 4}
    assert Hfpl(Cam(), isl_weight=0.2, fsl_weight=1.0).first_carried({"student": 0}) == ()
