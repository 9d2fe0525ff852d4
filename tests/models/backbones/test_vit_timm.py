"""Vision transformers beside timm's own, with its random weights saved to a file: every
family, the tokens behind every block. Where timm and PyTorch are installed.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hfpl_jax.models.backbones import BACKBONES
from hfpl_jax.models.patch_embedding import STATISTICS
from hfpl_jax.models.preprocess import IMAGENET_MEAN, IMAGENET_STD
from hfpl_jax.models.pretrained import load_backbone

torch = pytest.importorskip("torch")
timm = pytest.importorskip("timm")

FAMILIES = {
    "vit_tiny16": "vit_tiny_patch16_224",
    "deit_small16": "deit_small_patch16_224",
    "deit_tiny16_distilled": "deit_tiny_distilled_patch16_224",
    "dino_small16": "vit_small_patch16_224",
    "dinov2_small14": "vit_small_patch14_dinov2",
    "dinov2_small14_registers": "vit_small_patch14_reg4_dinov2",
    "clip_base16": "vit_base_patch16_clip_quickgelu_224",
}


@pytest.mark.slow
@pytest.mark.parametrize("name", FAMILIES)
def test_tokens_of_every_block(name, tmp_path):
    from safetensors.torch import save_file

    torch.manual_seed(0)
    theirs = timm.create_model(FAMILIES[name], pretrained=False, dynamic_img_size=True).eval()
    with torch.no_grad():
        for key, parameter in theirs.named_parameters():
            if parameter.ndim == 1 or "token" in key:  # else 0 or 1, which hide a slip
                parameter.add_(0.1 * torch.randn_like(parameter))
    save_file(theirs.state_dict(), tmp_path / "weights.safetensors")
    entry = BACKBONES[name]
    network = entry.network(entry.settings())
    abstract = jax.eval_shape(network.init, jax.random.key(0), jnp.zeros((1, 32, 32, 3)))
    variables = load_backbone(tmp_path / "weights.safetensors", abstract, network)
    shape = (2, 5 * network.patch, 7 * network.patch, 3)
    images = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    mean, deviation = STATISTICS[network.statistics]
    colours = (images * IMAGENET_STD + IMAGENET_MEAN - mean) / deviation
    tokens = []
    for block in theirs.blocks:
        block.register_forward_hook(lambda _, inputs, output: tokens.append(output.numpy()))
    with torch.no_grad():
        last = theirs.forward_features(torch.from_numpy(colours).permute(0, 3, 1, 2)).numpy()
    output, normed = network.apply(variables, jnp.asarray(images), method="look")
    for ours, expected in zip([*output.tokens[1:], normed], [*tokens, last], strict=True):
        np.testing.assert_allclose(ours, expected, atol=1e-4 * np.abs(expected).max())
