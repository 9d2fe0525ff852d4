"""A vision transformer in PyTorch, with its own attention; and with that of MCTformer's
program, which keeps the weights of every head of every block.
"""

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from experiments.benchmark import inputs
from experiments.benchmark.pytorch.losses import DEVICE, channels_first, wait
from experiments.benchmark.pytorch.seam import MEAN, STD
from experiments.benchmark.side import Side
from experiments.parity.golden_weights import vit_array
from hfpl_jax.models.backbones import BACKBONES

DEPTH, PATCH, TABLE = 12, 16, 14


class Attention(nn.Module):
    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.qkv, self.proj = nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(self, x: torch.Tensor, kept: list | None) -> torch.Tensor:
        b, t, k = x.shape
        query, key, value = self.qkv(x).view(b, t, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        if kept is None:
            mixed = F.scaled_dot_product_attention(query, key, value)
        else:
            kept.append((query @ key.mT * query.shape[-1] ** -0.5).softmax(-1))
            mixed = kept[-1] @ value
        return self.proj(mixed.transpose(1, 2).reshape(b, t, k))


class Mlp(nn.Module):
    def __init__(self, width: int):
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc2(F.gelu(self.fc1(x)))


class Block(nn.Module):
    def __init__(self, width: int, heads: int):
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width, 1e-6), nn.LayerNorm(width, 1e-6)
        self.attn, self.mlp = Attention(width, heads), Mlp(width)

    def forward(self, x: torch.Tensor, kept: list | None) -> torch.Tensor:
        x = x + self.attn(self.norm1(x), kept)
        return x + self.mlp(self.norm2(x))


class Vit(nn.Module):
    """Tokens behind the last block, normalised. Its names are timm's, by which `fill`
    finds the weights.
    """

    def __init__(self, backbone: str, classes: int = 1):
        super().__init__()
        options = BACKBONES[backbone].options
        width, heads = options["width"], options["heads"]
        self.classes = classes
        self.cls_token = nn.Parameter(torch.zeros(1, classes, width))
        self.pos_embed = nn.Parameter(torch.zeros(1, classes + TABLE**2, width))
        self.patch_embed = nn.ModuleDict({"proj": nn.Conv2d(3, width, PATCH, PATCH)})
        self.blocks = nn.ModuleList(Block(width, heads) for _ in range(DEPTH))
        self.norm = nn.LayerNorm(width, 1e-6)

    def fill(self) -> "Vit":
        with torch.no_grad():
            for name, array in self.state_dict().items():
                array.copy_(torch.from_numpy(vit_array(name, tuple(array.shape))))
        return self.to(DEVICE).eval().requires_grad_(False)

    def forward(self, images: torch.Tensor, kept: list | None = None) -> torch.Tensor:
        x = self.patch_embed["proj"](images)
        front, table = self.pos_embed[:, : self.classes], self.pos_embed[:, self.classes :]
        table = table.view(1, TABLE, TABLE, -1).permute(0, 3, 1, 2)
        if x.shape[2:] != table.shape[2:]:
            table = F.interpolate(table, x.shape[2:], mode="bicubic", antialias=True)
        x = (x + table).flatten(2).mT
        x = torch.cat([(self.cls_token + front).expand(len(x), -1, -1), x], 1)
        for block in self.blocks:
            x = block(x, kept)
        return self.norm(x)


def _pixels(size: int) -> torch.Tensor:
    image, _ = inputs.photograph(3, size, size)
    return (channels_first(image[None]) / 255.0 - MEAN) / STD


def forward(backbone: str, size: int) -> Side:
    network, pixels = Vit(backbone).fill(), _pixels(size)

    @torch.inference_mode()
    def run() -> np.ndarray:
        tokens = network(pixels)
        wait()
        return tokens.cpu().numpy()

    return Side(run, lambda tokens: {"tokens": tokens}, images=1)


def attention(backbone: str, size: int) -> Side:
    network, pixels = Vit(backbone, inputs.CLASSES).fill(), _pixels(size)
    classes = inputs.CLASSES

    @torch.inference_mode()
    def run() -> dict[str, np.ndarray]:
        kept: list[torch.Tensor] = []
        network(pixels, kept)
        means = [each.mean(1) for each in kept]
        of_classes = torch.stack([each[:, :classes, classes:] for each in means])
        of_patches = sum(each[:, classes:, classes:] for each in means)
        wait()
        return {
            "class_attention": of_classes.cpu().numpy(),
            "patch_attention": of_patches.cpu().numpy(),
        }

    return Side(run, lambda made: made, images=1)
