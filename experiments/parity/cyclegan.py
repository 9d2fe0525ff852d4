"""CycleGAN's semi-supervision, held against the program of Mondal et al. at a24a00b."""

import json
import pathlib
from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np

from experiments.parity.arrays import cases, channels_last
from experiments.parity.check import Check, relative_error
from experiments.parity.golden_weights import golden_array
from hfpl_jax.losses.cross_entropy import segmentation_loss
from hfpl_jax.losses.translation import absolute_error, judged_as, squared_error
from hfpl_jax.models.image_translation import ImageGenerator, PixelDiscriminator
from hfpl_jax.models.ocr_head import Scores
from hfpl_jax.training.objective import Batch, total_loss
from hfpl_jax.training.objectives.cycle import Cycle, as_images
from hfpl_jax.training.objectives.final import UNLABELLED
from hfpl_jax.training.objectives.history import empty

TOLERANCE, OF_NETWORKS = 1e-5, 1e-4

_TERMS = {
    "supervised": "lab_loss_CE",
    "image": "lab_loss_MSE",
    "image_cycle": "img_cycle_loss",
    "mask_cycle": "gt_cycle_loss",
    "image_adversarial": "img_gen_loss",
    "mask_adversarial": "gt_gen_loss",
    "image_discriminator": "img_dis_loss",
    "mask_discriminator": "gt_dis_loss",
}
"""Our name of a term -> theirs."""
_MADE = ("fake_img", "recon_img", "lab_gt", "recon_gt")
_JUDGED = ("fake_img_dis", "fake_gt_dis", "unl_img_dis", "real_gt_dis")


def check_losses(goldens: pathlib.Path) -> list[Check]:
    """cyclegan_losses.npz: what the networks give -> every term and their sums, and the
    gradients of the sums to what the networks give. The second case has discriminators
    of another resolution, which are not here: of it only the terms.
    """
    with np.load(goldens / "cyclegan_losses.npz") as golden:
        found = cases(golden)
    checks = []
    for case, theirs in found.items():
        ours = _terms(theirs)
        checks += [
            _check(f"{ours_name}, case {case}", ours[ours_name], theirs[name])
            for ours_name, name in _TERMS.items()
        ]
    return checks + _check_objective(found["0"])


def _check(name: str, ours, theirs, tolerance: float = TOLERANCE) -> Check:
    return Check("CycleGAN", name, relative_error(ours, theirs), tolerance)


def _terms(theirs: Mapping[str, np.ndarray]) -> dict[str, jax.Array]:
    maps = {name: channels_last(theirs[name]) for name in (*_MADE, *_JUDGED, "l_img", "unl_img")}
    labels = jnp.asarray(theirs["l_gt"][:, 0], jnp.uint8)
    everywhere = jnp.ones(labels.shape, bool)

    def judged(name: str, target: float) -> jax.Array:
        return judged_as(maps[name], target, jnp.ones(maps[name].shape[:3], bool))

    return {
        "supervised": segmentation_loss(maps["lab_gt"], labels),
        "image": squared_error(maps["fake_img"], maps["l_img"], everywhere),
        "image_cycle": absolute_error(maps["recon_img"], maps["unl_img"], everywhere),
        "mask_cycle": segmentation_loss(maps["recon_gt"], labels),
        "image_adversarial": judged("fake_img_dis", 1.0),
        "mask_adversarial": judged("fake_gt_dis", 1.0),
        "image_discriminator": 0.5 * (judged("unl_img_dis", 1.0) + judged("fake_img_dis", 0.0)),
        "mask_discriminator": 0.5 * (judged("real_gt_dis", 1.0) + judged("fake_gt_dis", 0.0)),
    }


def _check_objective(theirs: Mapping[str, np.ndarray]) -> list[Check]:
    """The objective's total, around networks that return the recorded maps."""
    valid = jnp.ones(theirs["l_gt"][:, 0].shape, bool)
    labels = jnp.asarray(theirs["l_gt"][:, 0], jnp.uint8)
    inputs = {name: channels_last(theirs[name]) for name in (*_MADE, *_JUDGED)}
    end = jnp.float32(1.0)
    photographs = {
        name: as_images(channels_last(theirs[name]), valid) for name in ("l_img", "unl_img")
    }
    unlabelled = Batch(photographs["unl_img"], jnp.zeros((len(valid), 0)), valid, end)
    shapes = {
        kind: {
            "made": jax.ShapeDtypeStruct((*valid.shape[1:], channels), jnp.float32),
            "valid": jax.ShapeDtypeStruct(valid.shape[1:], bool),
        }
        for kind, channels in (("image", 3), ("mask", inputs["lab_gt"].shape[-1]))
    }
    carried = {kind: empty(4, each) for kind, each in shapes.items()}
    batch = Batch(photographs["l_img"], labels, valid, end, carried, {UNLABELLED: unlabelled})

    def total(inputs):
        answers = {
            "segmenter": iter((inputs["lab_gt"], inputs["lab_gt"], inputs["recon_gt"])),
            "generator": iter((inputs["fake_img"], inputs["recon_img"])),
            "image_discriminator": iter(
                inputs[name] for name in ("fake_img_dis", "unl_img_dis", "fake_img_dis")
            ),
            "mask_discriminator": iter(
                inputs[name] for name in ("fake_gt_dis", "real_gt_dis", "fake_gt_dis")
            ),
        }

        def apply(images, *, name, auxiliary=False, **arguments):
            answer = next(answers[name])
            return Scores(answer, None) if auxiliary else answer

        return total_loss(Cycle().predict(apply, batch, jax.random.key(0)))

    loss, slopes = jax.jit(jax.value_and_grad(total))(inputs)
    checks = [_check("total", loss, theirs["gen_loss"] + theirs["discriminator_loss"])]
    for name in inputs:
        parts = [
            theirs[f"{kind}_{name}"]
            for kind in ("gengrad", "disgrad")
            if f"{kind}_{name}" in theirs
        ]
        checks.append(_check(f"grad_{name}", slopes[name], channels_last(sum(parts))))
    return checks


def check_networks(goldens: pathlib.Path) -> list[Check]:
    """cyclegan_nets.npz: a mask and an image -> the generator's image, the discriminator's
    scores. The other generator, image to mask, is our final network.
    """
    with np.load(goldens / "cyclegan_nets.npz") as golden:
        theirs = dict(golden)
    names = json.loads((goldens / "cyclegan_nets_names.json").read_text())
    _, blocks, judged_width, width = map(int, theirs["cfg"])
    generator, judge = ImageGenerator(width, blocks), PixelDiscriminator(judged_width)
    made = generator.apply(
        {"params": _generator(names["gis"], blocks)}, channels_last(theirs["x_seg"])
    )
    places = {"first": "0", "second": "2", "last": "5"}
    params = {
        name: _layer(names["pixel"], f"dis_model.{place}", flat=True)
        for name, place in places.items()
    }
    scores = judge.apply({"params": params}, channels_last(theirs["x_img"]))
    return [
        _check("generator", made, channels_last(theirs["gis"]), OF_NETWORKS),
        _check("pixel discriminator", scores, channels_last(theirs["pixel"]), OF_NETWORKS),
    ]


def _layer(
    shapes: Mapping[str, list[int]], name: str, *, flat: bool = False, up: bool = False
) -> dict[str, np.ndarray]:
    """A convolution's parameters: of a `flat` one as of a dense layer; of one that goes
    `up` mirrored, with its input channels in front in the file.
    """
    kernel = golden_array(f"{name}.weight", shapes[f"{name}.weight"])
    bias = golden_array(f"{name}.bias", shapes[f"{name}.bias"])
    kernel = kernel.transpose(2, 3, 0, 1)[::-1, ::-1] if up else kernel.transpose(2, 3, 1, 0)
    return {"kernel": kernel[0, 0] if flat else kernel, "bias": bias}


def _generator(shapes: Mapping[str, list[int]], blocks: int) -> dict[str, dict]:
    model = "res_model"
    params = {
        "first": _layer(shapes, f"{model}.1.0"),
        "down1": _layer(shapes, f"{model}.2.0"),
        "down2": _layer(shapes, f"{model}.3.0"),
        "up1": _layer(shapes, f"{model}.{4 + blocks}.0", up=True),
        "up2": _layer(shapes, f"{model}.{5 + blocks}.0", up=True),
        "last": _layer(shapes, f"{model}.{7 + blocks}"),
    }
    for index in range(blocks):
        block = f"{model}.{4 + index}.res_block"
        params[f"block{index}_1"] = _layer(shapes, f"{block}.1.0")
        params[f"block{index}_2"] = _layer(shapes, f"{block}.3")
    return params
