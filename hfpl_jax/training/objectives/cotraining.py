"""Deep co-training: two networks learn the labels, agree on unlabelled photographs, and
each learns what the other says of images that mislead that other one.

Source: Peng, Estrada, Pedersoli, Desrosiers, "Deep co-training for semi-supervised image
segmentation", Pattern Recognition 2020, arXiv 1903.11233, and its program, of which the
losses, the attack and the weights are. The images are normalised here, and an attack
sees the network as it looks at photographs, without dropout: our reading, as nothing
says which of the program's versions made the paper's tables.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

from hfpl_jax.losses.adversarial_images import adversarial_images
from hfpl_jax.losses.agreement import agreement_loss, teaching_loss
from hfpl_jax.losses.cross_entropy import segmentation_loss
from hfpl_jax.masks import IGNORE
from hfpl_jax.models.several_networks import NetworkPair
from hfpl_jax.resize import resize_bilinear
from hfpl_jax.setting import above, ascending, at_least, setting, within
from hfpl_jax.training.objective import Apply, Batch, Prediction, total_loss
from hfpl_jax.training.objectives.final import LABELLED, UNLABELLED, FinalObjective
from hfpl_jax.training.optimizer import by_module


def ramp(progress: jax.Array, shares: tuple[float, float]) -> jax.Array:
    """0 before the share `begin` of the training, 1 from `end` on, between them

    exp(-5 (1 - t)^2),   t = (progress - begin) / (end - begin)
    """
    begin, end = shares
    past = (progress - begin) / max(end - begin, 1e-6)
    rising = jnp.exp(-5.0 * jnp.square(1.0 - jnp.clip(past, 0.0, 1.0)))
    return jnp.where(progress < begin, 0.0, jnp.where(progress < end, rising, 1.0))


def cells_of(valid: jax.Array, size: tuple[int, ...]) -> jax.Array:
    """Which cells of maps of `size`, enlarged with aligned corners, lie in no padding;
    bool [b, h, w] of [b, H, W].
    """
    return resize_bilinear(valid[..., None] * 1.0, size, align_corners=True)[..., 0] > 0.5


@dataclasses.dataclass(frozen=True)
class CoTraining(FinalObjective):
    """Of `models.several_networks.NetworkPair`:

      L = sum_s supervised_s + a(t) JSD(p_1, p_2) + d(t) diversity
      diversity = 1/4 sum over the labelled batch of network i and the unlabelled one,
                  over both i:  KL(p_i(x) || p_j(x + attack on i))

    Each network has labelled batches of its own, from the same photographs. The weights
    a and d rise as `ramp` says; JSD and KL are means over the cells of the logits. The
    attack on unlabelled photographs is against the network's own label map.
    """

    path: ClassVar[str] = "segmentation.cotraining"
    beside: ClassVar[tuple[str, ...]] = (LABELLED, UNLABELLED)

    agreement: float = setting(0.5, "largest weight of the agreement", at_least(0))
    agreement_ramp: tuple[float, float] = setting(
        (0.0, 0.42),
        "shares of the training between which that weight rises",
        ascending(within(0, 1)),
    )
    diversity: float = setting(
        0.05, "largest weight of what one teaches on images that mislead it", at_least(0)
    )
    diversity_ramp: tuple[float, float] = setting(
        (0.17, 0.42),
        "shares of the training between which that weight rises",
        ascending(within(0, 1)),
    )
    epsilon: float = setting(
        0.03, "length of the step that misleads, in colours from 0 to 1", above(0)
    )

    def network(self, make: Callable[[], nn.Module]) -> NetworkPair:
        return NetworkPair(make(), make())

    def optimizer(
        self, one: optax.GradientTransformation, steps: int
    ) -> optax.GradientTransformation:
        return by_module(dict.fromkeys(NetworkPair.members, one))

    def predict(self, apply: Apply, batch: Batch, key: jax.Array) -> Prediction:
        networks = [
            functools.partial(apply, method="of", name=name) for name in NetworkPair.members
        ]
        labelled, unlabelled = (batch, batch.beside[LABELLED]), batch.beside[UNLABELLED]
        supervised = [
            self.supervised.predict(network, each, of_network)
            for network, each, of_network in zip(
                networks, labelled, jax.random.split(key), strict=True
            )
        ]
        both = jnp.stack([network(unlabelled.images, train=True) for network in networks])
        taught = []
        for attacked, (attacker, student) in enumerate((networks, networks[::-1])):
            own = labelled[attacked]
            taught.append(self._taught(attacker, student, own, own.labels))
            taught.append(self._taught(attacker, student, unlabelled, None))
        losses = {
            "supervised": jnp.sum(jnp.stack([total_loss(each) for each in supervised])),
            "agreement": agreement_loss(both, cells_of(unlabelled.valid, both.shape[2:4])),
            "diversity": jnp.mean(jnp.stack(taught)),
        }
        weights: dict[str, float | jax.Array] = {
            "supervised": 1.0,
            "agreement": self.agreement * ramp(batch.progress, self.agreement_ramp),
            "diversity": self.diversity * ramp(batch.progress, self.diversity_ramp),
        }
        return Prediction(supervised[0].logits, losses, weights)

    def _taught(
        self, attacker: Apply, student: Apply, batch: Batch, labels: jax.Array | None
    ) -> jax.Array:
        """How far the student, who sees the images that mislead the attacker, is from what
        that one says of the images themselves.
        """

        def mistake(images: jax.Array) -> tuple[jax.Array, jax.Array]:
            logits = attacker(images, detached=True)
            enlarged = resize_bilinear(logits, images.shape[1:3], align_corners=True)
            against = labels
            if against is None:
                own = jnp.argmax(enlarged, axis=-1).astype(jnp.uint8)
                against = jnp.where(batch.valid, own, jnp.uint8(IGNORE))
            return segmentation_loss(enlarged, against), logits

        slopes, logits = jax.grad(mistake, has_aux=True)(batch.images)
        images = adversarial_images(batch.images, slopes, batch.valid, epsilon=self.epsilon)
        answer = student(images, train=True, statistics=False)
        counted = cells_of(batch.valid, answer.shape[1:3])
        return teaching_loss(answer, jax.nn.softmax(logits), counted)

    def said(self) -> str:
        return "co-training of two networks"
