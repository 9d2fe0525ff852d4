"""CycleGAN's semi-supervision: the final network makes masks of images, a generator makes
images of masks, each has to lead back to where it came from, and two discriminators
judge what they make.

Source: Mondal, Agarwal, Dolz, Desrosiers, "Revisiting CycleGAN for semi-supervised
segmentation", arXiv 1908.11569, and its program at a24a00b, of which the terms, the
weights and the other networks are. Here the final network is ours, ignored pixels are
left out instead of being background, and the histories hold images, not batches.
"""

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

from hfpl_jax.losses.cross_entropy import segmentation_loss
from hfpl_jax.losses.translation import absolute_error, judged_as, squared_error
from hfpl_jax.masks import IGNORE
from hfpl_jax.models.cycle_network import CycleNetwork
from hfpl_jax.models.preprocess import IMAGENET_MEAN, IMAGENET_STD
from hfpl_jax.resize import resize_bilinear
from hfpl_jax.setting import above, at_least, one_of, setting
from hfpl_jax.training.objective import Apply, Batch, Prediction, total_loss
from hfpl_jax.training.objectives.final import UNLABELLED, FinalObjective
from hfpl_jax.training.objectives.history import empty, exchanged
from hfpl_jax.training.optimizer import AdamW, by_module, make_optimizer

MODERN, PUBLISHED = "modern", "published"


def as_colours(images: jax.Array, valid: jax.Array) -> jax.Array:
    """Normalised images -> from -1 to 1, as the generator makes them; 0 in the padding."""
    return (2.0 * (images * IMAGENET_STD + IMAGENET_MEAN) - 1.0) * valid[..., None]


def as_images(colours: jax.Array, valid: jax.Array) -> jax.Array:
    """The way back: normalised images."""
    return (((colours + 1.0) / 2.0 - IMAGENET_MEAN) / IMAGENET_STD) * valid[..., None]


@dataclasses.dataclass(frozen=True)
class Cycle(FinalObjective):
    """Of `models.cycle_network.CycleNetwork`, S image to mask and G mask to image, with
    a labelled batch (x, y) and an unlabelled one u:

      L = supervised(S(x), y) + |G(y) - x|^2
          + image_cycle |G(S(u)) - u| + mask_cycle CE(S(G(y)), y)
          + adversarial [(D_i(G(y)) - 1)^2 + (D_m(S(u)) - 1)^2]
          + 1/2 [(D_i(u) - 1)^2 + D_i(G(y))^2] + 1/2 [(D_m(y) - 1)^2 + D_m(S(u))^2]

    Each norm is a mean. The discriminators are constant in the third line, and what they
    judge in the fourth, where it comes from a history: one step of all networks is then
    what the program does in two.

    D_m sees one channel a class, probabilities of S(u). In the mode "published" it sees
    the number of the likeliest class, which teaches the final network nothing.
    """

    path: ClassVar[str] = "segmentation.cycle"
    beside: ClassVar[tuple[str, ...]] = (UNLABELLED,)

    mode: str = setting(
        MODERN,
        "published: masks are judged by their likeliest classes, which teaches nobody",
        one_of(MODERN, PUBLISHED),
    )
    image_cycle: float = setting(1.0, "weight of the way from image to image", at_least(0))
    mask_cycle: float = setting(0.05, "weight of the way from mask to mask", at_least(0))
    adversarial: float = setting(0.5, "weight of what the discriminators say", at_least(0))
    learning_rate: float = setting(
        2e-4,
        "of Adam, for all but the final network; after a quarter of the steps it falls",
        above(0),
    )
    width: int = setting(64, "channels of the generator at the crop's resolution", at_least(1))
    blocks: int = setting(9, "residual ones, of the generator", at_least(0))
    history: int = setting(50, "images in each history of what was made", at_least(1))

    def network(self, make: Callable[[], nn.Module]) -> CycleNetwork:
        one = make()
        channels = 1 if self.mode == PUBLISHED else one.num_classes + 1
        return CycleNetwork(one, self.width, self.blocks, channels)

    def optimizer(
        self, one: optax.GradientTransformation, steps: int
    ) -> optax.GradientTransformation:
        """Published: constant for 100 of 400 epochs, then linear to 0."""

        def rate(step: jax.Array) -> jax.Array:
            return self.learning_rate * jnp.minimum(1.0, (1.0 - step / steps) / 0.75)

        adam = make_optimizer(AdamW(beta1=0.5), rate, weight_decay=0.0, multipliers=())
        others = ("generator", "image_discriminator", "mask_discriminator")
        return by_module({"segmenter": one, **dict.fromkeys(others, adam)})

    def first_carried(self, params: Mapping) -> dict[str, Any]:
        side, channels = self.crop_size, len(params["mask_discriminator"]["first"]["kernel"])

        def one(channels: int) -> dict[str, jax.ShapeDtypeStruct]:
            return {
                "made": jax.ShapeDtypeStruct((side, side, channels), jnp.float32),
                "valid": jax.ShapeDtypeStruct((side, side), bool),
            }

        return {"image": empty(self.history, one(3)), "mask": empty(self.history, one(channels))}

    def next_carried(
        self, carried: Any, params: Mapping, prediction: Prediction, progress: jax.Array
    ) -> Any:
        return prediction.kept

    def predict(self, apply: Apply, batch: Batch, key: jax.Array) -> Prediction:
        def of(name: str) -> Apply:
            return functools.partial(apply, method="of", name=name)

        segment, generate, unlabelled = of("segmenter"), of("generator"), batch.beside[UNLABELLED]
        key, *draws = jax.random.split(key, 3)

        def classes_of(images: jax.Array, **options: Any) -> jax.Array:
            logits = segment(images, train=True, **options)
            return resize_bilinear(logits, images.shape[1:3], align_corners=True)

        # The labelled batch is the last that the running statistics are of.
        scores = classes_of(unlabelled.images)
        supervised = self.supervised.predict(segment, batch, key)
        counted, probabilities = batch.labels != IGNORE, jax.nn.softmax(scores)
        labels = jax.nn.one_hot(batch.labels, scores.shape[-1])  # 0 where the label is 255
        made = generate(labels, train=True) * batch.valid[..., None]
        back = classes_of(as_images(made, batch.valid), statistics=False)
        colours = as_colours(unlabelled.images, unlabelled.valid)
        real = {"image": (colours, unlabelled.valid), "mask": (labels, counted)}
        guessed = probabilities
        if self.mode == PUBLISHED:
            real["mask"] = (_numbers(labels), counted)
            guessed = jax.lax.stop_gradient(_numbers(probabilities))
        fake = {"image": (made, batch.valid), "mask": (guessed, unlabelled.valid)}

        losses = {
            "supervised": total_loss(supervised),
            "image": squared_error(made, as_colours(batch.images, batch.valid), counted),
            "image_cycle": absolute_error(
                generate(probabilities, train=True), colours, unlabelled.valid
            ),
            "mask_cycle": segmentation_loss(back, batch.labels),
        }
        weights = {
            "supervised": 1.0,
            "image": 1.0,
            "image_cycle": self.image_cycle,
            "mask_cycle": self.mask_cycle,
        }
        kept = {}
        for draw, kind in zip(draws, real, strict=True):
            judge = of(f"{kind}_discriminator")
            made, valid = fake[kind]
            arrays = {"made": jax.lax.stop_gradient(made), "valid": valid}
            shown, kept[kind] = exchanged(batch.carried[kind], arrays, draw)
            losses |= {
                f"{kind}_adversarial": judged_as(judge(made, detached=True), 1.0, valid),
                f"{kind}_discriminator": 0.5
                * (
                    judged_as(judge(real[kind][0]), 1.0, real[kind][1])
                    + judged_as(judge(shown["made"]), 0.0, shown["valid"])
                ),
            }
            weights |= {f"{kind}_adversarial": self.adversarial, f"{kind}_discriminator": 1.0}
        return Prediction(supervised.logits, losses, weights, kept)

    def said(self) -> str:
        return f"CycleGAN's semi-supervision, {self.mode}"


def _numbers(classes: jax.Array) -> jax.Array:
    """The number of the likeliest class, [b, h, w, 1], as one channel of floats."""
    return jnp.argmax(classes, axis=-1, keepdims=True).astype(jnp.float32)
