"""MCTformer V2 and MCTformer+ held against the published program: networks, maps, losses
and gradients, CAMs of several scales.
"""

import functools
import pathlib
from collections.abc import Iterator, Mapping

import jax
import jax.numpy as jnp
import numpy as np

from experiments.parity.arrays import channels_last
from experiments.parity.check import Check, relative_error
from experiments.parity.golden_weights import vit_weights
from hfpl_jax.losses import pooled_loss
from hfpl_jax.losses.ranked_pooling import ranked_mean
from hfpl_jax.losses.token_contrast import token_contrast
from hfpl_jax.methods.mctformer import Mctformer
from hfpl_jax.models.backbones.vit import Vit
from hfpl_jax.models.mct_network import MctNetwork
from hfpl_jax.models.pretrained import place_network
from hfpl_jax.training.objective import Batch

TOLERANCE = 1e-5
OF_NETWORKS = 1e-4
PATCH = 16
GRADIENTS = {
    "cls_token": "backbone/embed/class_tokens",
    "blocks.0.attn.qkv.weight": "backbone/block0/query_key_value/kernel",
    "blocks.2.norm2.weight": "backbone/block2/norm2/scale",
    "blocks.2.mlp.fc1.bias": "backbone/block2/expand/bias",
    "head.weight": "head/kernel",
    "head.bias": "head/bias",
}
"""Their names and ours."""


def check_v2(goldens: pathlib.Path) -> list[Check]:
    method = Mctformer(blocks=2, positions="shifted")
    return _checks("MCTformer V2", goldens / "mctformer_v2.npz", method)


def check_plus(goldens: pathlib.Path) -> list[Check]:
    method = Mctformer(blocks=2, positions="bicubic", fusion="root", contrast=1.0, pooling="ranked")
    return _checks("MCTformer+", goldens / "mctformer_plus.npz", method)


def _checks(piece: str, path: pathlib.Path, method: Mctformer) -> list[Check]:
    with np.load(path) as golden:
        theirs = dict(golden)
    network, variables = _network(theirs, path, method)
    apply = functools.partial(jax.jit(network.apply, static_argnames="attention"), variables)
    rows = [
        *_maps(theirs, method, apply),
        *_losses(theirs, method),
        *_training(theirs, method, network, variables),
        *_inference(theirs, method, apply),
    ]
    return [Check(piece, name, relative_error(*pair), tolerance) for name, *pair, tolerance in rows]


def _network(theirs: Mapping, path: pathlib.Path, method: Mctformer) -> tuple[MctNetwork, dict]:
    classes, width, depth, heads, image, patch, _ = theirs["config"].tolist()
    vit = Vit(width=width, heads=heads, depth=depth, patch=patch, table=image // patch)
    network = method.network(vit, classes, frozen_batch_norm=True, dropout=0.0)
    names = path.with_name(f"{path.stem}_names.json")
    weights = {name.replace("head.", "fc8."): array for name, array in vit_weights(names).items()}
    if "pos_embed_pat" in weights:
        both = [weights.pop(f"pos_embed_{part}") for part in ("cls", "pat")]
        weights["pos_embed"] = np.concatenate(both, axis=1)
    abstract = jax.eval_shape(network.init, jax.random.key(0), jnp.zeros((1, 32, 32, 3)))
    return network, place_network(weights, abstract, network.backbone)


def _maps(theirs: Mapping, method: Mctformer, apply) -> Iterator[tuple]:
    for case in range(3):
        images = jnp.asarray(channels_last(theirs[f"{case}_x"]), jnp.float32)
        output = apply(images, attention=True)
        yield f"case {case}, scores", output.scores, theirs[f"{case}_cls_logits"], OF_NETWORKS
        logits = channels_last(theirs[f"{case}_patch_map"])
        yield f"case {case}, logits", output.logits, logits, OF_NETWORKS
        attention = theirs[f"{case}_patch_attn"].sum(axis=0)
        yield f"case {case}, attention", output.patch_attention, attention, OF_NETWORKS
        fused = channels_last(theirs[f"{case}_cam_fused"])
        yield f"case {case}, fused", method.fused(output), fused, OF_NETWORKS
        refined = channels_last(theirs[f"{case}_refined"])
        yield f"case {case}, refined", method.maps(apply, images, None).cams, refined, OF_NETWORKS


def _losses(theirs: Mapping, method: Mctformer) -> Iterator[tuple]:
    labels = jnp.asarray(theirs["loss_labels"])
    for part in ("cls", "patch"):
        given = jnp.asarray(theirs[f"loss_in_{part}_logits"], jnp.float32)
        slope = jax.grad(pooled_loss)(given, labels)
        yield f"gradient to {part} logits", slope, theirs[f"loss_grad_{part}_logits"], TOLERANCE
    if method.contrast:
        tokens = jnp.asarray(theirs["loss_in_cls_tokens"], jnp.float32)
        count = int(theirs["loss_num_cct"])

        def contrast(tokens):
            return token_contrast(tokens[-count:], labels)

        value, slope = jax.value_and_grad(contrast)(tokens)
        yield "contrast", value, theirs["loss_meter_attn_loss"], TOLERANCE
        yield "gradient to tokens", slope, theirs["loss_grad_cls_tokens"], TOLERANCE
        maps = channels_last(theirs["0_patch_map"])
        yield "ranked pooling", ranked_mean(maps), theirs["0_patch_logits"], OF_NETWORKS


def _training(theirs: Mapping, method: Mctformer, network, variables) -> Iterator[tuple]:
    images = jnp.asarray(channels_last(theirs["train_x"]), jnp.float32)
    batch = Batch(
        images,
        jnp.asarray(theirs["train_y"], jnp.float32),
        jnp.ones(images.shape[:3], bool),
        jnp.float32(0),
    )

    def total(params):
        apply = functools.partial(network.apply, {"params": params})
        made = method.predict(apply, batch, jax.random.key(0))
        return sum(made.weights[name] * loss for name, loss in made.losses.items())

    value, slopes = jax.jit(jax.value_and_grad(total))(variables["params"])
    yield "loss of a step", value, theirs["train_loss"], OF_NETWORKS
    for name, path in GRADIENTS.items():
        slope = functools.reduce(lambda tree, key: tree[key], path.split("/"), slopes)
        expected = theirs[f"train_grad_{name}"]
        expected = expected.T if expected.ndim == 2 else expected
        expected = expected.transpose(2, 3, 1, 0) if expected.ndim == 4 else expected
        yield f"gradient to {name}", slope, expected, OF_NETWORKS
    placed = (
        ("pos_embed",) if "train_grad_pos_embed" in theirs else ("pos_embed_cls", "pos_embed_pat")
    )
    expected = np.concatenate([theirs[f"train_grad_{name}"] for name in placed], axis=1)
    yield "gradient to positions", slopes["backbone"]["embed"]["positions"], expected, OF_NETWORKS


def _inference(theirs: Mapping, method: Mctformer, apply) -> Iterator[tuple]:
    """There what is left of an image beside whole patches is not looked at."""

    def cams_of(images: np.ndarray) -> np.ndarray:
        return np.asarray(method.maps(apply, jnp.asarray(images, jnp.float32), None).cams[0])

    maps, sizes = [], []
    for scale in range(3):
        whole = channels_last(theirs[f"infer_x{scale}"])
        height, width = (side // PATCH * PATCH for side in whole.shape[1:3])
        plain, mirrored = (cams_of(each[:, :height, :width]) for each in (whole, whole[:, :, ::-1]))
        maps.append(plain + mirrored[:, ::-1])
        sizes.append(whole.shape[1:3])
    cams = method.merge(maps, theirs["infer_classes"], sizes, sizes[0], PATCH)
    yield "CAMs of three scales", cams.transpose(2, 0, 1), theirs["infer_norm_cam"], OF_NETWORKS
