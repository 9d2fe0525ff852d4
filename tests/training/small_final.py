"""Small final networks and batches, of which objectives make a step."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from hfpl_jax.masks import IGNORE
from hfpl_jax.models.ocr_head import Scores
from hfpl_jax.training.objective import Batch

CLASSES, SIDE, ROWS = 2, 16, 8


class Cells(nn.Module):
    """A convolution of stride 4 and its statistics."""

    dtype = jnp.float32
    output_stride = 4

    @nn.compact
    def __call__(self, images, train):
        cells = nn.Conv(6, (4, 4), strides=4)(images)
        return nn.relu(nn.BatchNorm(use_running_average=not train, momentum=0.9)(cells))


class Small(nn.Module):
    """Called as a `SegmentationNetwork` is."""

    backbone: nn.Module
    num_classes: int = CLASSES

    @nn.compact
    def __call__(self, images, sizes=None, train=False, auxiliary=False):
        cells = nn.Dropout(0.2, deterministic=not train)(self.backbone(images, train))
        logits = nn.Dense(self.num_classes + 1)(cells)
        return Scores(logits, None) if auxiliary else logits


def make():
    return Small(Cells())


def variables_of(network, seed=0):
    images = jnp.zeros((1, SIDE, SIDE, 3))
    return jax.jit(lambda key: network.init(key, images, method="everything"))(jax.random.key(seed))


def batch_of(seed, carried=(), beside=None, progress=1.0):
    """Half of the last rows are padding, every fifth label is not known."""
    rng = np.random.default_rng(seed)
    valid = (
        np.arange(SIDE)[None, :, None]
        < np.where(np.arange(ROWS) % 2, SIDE, SIDE // 2)[:, None, None]
    )
    valid = np.broadcast_to(valid, (ROWS, SIDE, SIDE))
    images = rng.normal(size=(ROWS, SIDE, SIDE, 3)) * valid[..., None]
    labels = rng.integers(0, CLASSES + 1, valid.shape)
    labels = np.where(valid & (rng.random(valid.shape) > 0.2), labels, IGNORE)
    return Batch(
        jnp.asarray(images, jnp.float32),
        jnp.asarray(labels, jnp.uint8),
        jnp.asarray(valid),
        jnp.float32(progress),
        carried,
        beside or {},
    )


def without_labels(batch):
    return batch._replace(labels=jnp.zeros((len(batch.images), 0)))


def applied(network, variables, params):
    """The step's `apply`, without statistics that move on."""

    def apply(images, *, detached=False, statistics=True, **arguments):
        own = jax.lax.stop_gradient(params) if detached else params
        output, _ = network.apply(
            {**variables, "params": own},
            images,
            **arguments,
            mutable=["batch_stats"],
            rngs={"dropout": jax.random.key(7)},
        )
        return output

    return apply
