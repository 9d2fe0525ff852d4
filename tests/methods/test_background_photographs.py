"""A photograph that shows no class trains with a target of zeros."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hfpl_jax.methods.cam import Cam
from hfpl_jax.methods.hfpl import Hfpl
from hfpl_jax.methods.seam import Seam
from hfpl_jax.resize import resize_bilinear
from hfpl_jax.training.objective import Batch, total_loss


class Output(NamedTuple):
    logits: jax.Array
    corrected: jax.Array


def apply_with(head):
    """A network of stride 4: colours times a matrix."""

    def apply(images, *, train=False):
        size = tuple(-(-side // 4) for side in images.shape[1:3])
        logits = resize_bilinear(images, size, align_corners=True) @ head
        return Output(logits, jax.nn.softplus(jnp.pad(logits, ((0, 0),) * 3 + ((1, 0),))))

    return apply


@pytest.fixture(scope="module")
def images():
    return jnp.asarray(np.random.default_rng(0).normal(size=(2, 32, 32, 3)), jnp.float32)


@pytest.fixture(scope="module")
def head():
    return jnp.asarray(np.random.default_rng(1).normal(size=(3, 4)), jnp.float32)


@pytest.mark.parametrize("method", [Cam(), Seam()])
def test_its_gradient_is_finite(method, images, head):
    hfpl = Hfpl(method, isl_weight=0.2, fsl_weight=1.0)
    batch = Batch(images, jnp.zeros((2, 4)), jnp.ones((2, 32, 32), bool), jnp.zeros(()))

    def loss(head):
        return total_loss(hfpl.predict(apply_with(head), batch, jax.random.key(0)))

    gradient = jax.jit(jax.grad(loss))(head)
    assert np.isfinite(gradient).all()
    assert np.abs(gradient).max() > 0


def test_its_logits_go_down_and_contours_say_nothing(images, head):
    hfpl = Hfpl(Cam(), isl_weight=0.0, fsl_weight=1.0)
    batch = Batch(images, jnp.zeros((2, 4)), jnp.ones((2, 32, 32), bool), jnp.zeros(()))

    def term(head, name):
        return hfpl.predict(apply_with(head), batch, jax.random.key(0)).losses[name]

    pooled = np.asarray(apply_with(head)(images).logits, np.float64).mean(axis=(1, 2))
    expected = np.log1p(np.exp(pooled)).mean()  # -log(1 - sigmoid), for every class
    assert float(term(head, "classification")) == pytest.approx(expected, rel=1e-5)
    np.testing.assert_array_equal(jax.grad(term)(head, "feature_similarity"), 0.0)
