"""SIPE's loss of seeds, prototypes and maps as the published program computes it, in
PyTorch: with the resemblances of all pairs, and their product with every class's map.
"""

import numpy as np
import torch
import torch.nn.functional as F

from experiments.benchmark import inputs
from experiments.benchmark.pytorch.losses import DEVICE, channels_first, channels_last, wait
from experiments.benchmark.side import Side


def _by_peak(maps: torch.Tensor) -> torch.Tensor:
    return maps / (maps.amax(dim=(2, 3), keepdim=True) + 1e-5)


def _seeds(compared: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
    unit = compared.flatten(2)
    unit = unit / (unit.norm(dim=1, keepdim=True) + 1e-5)
    pairs = F.relu(torch.bmm(unit.transpose(1, 2), unit))[:, None]
    maps = scores.flatten(2)[:, :, None]
    inter = (pairs * maps).sum(-1)
    overlap = inter / (pairs.sum(-1) + maps.sum(-1) - inter)
    weight = torch.ones(scores.shape[1], 1, device=scores.device)
    weight[0] = 0.5
    best = (overlap * weight).argmax(dim=1)
    return F.one_hot(best, scores.shape[1]).transpose(1, 2).reshape(scores.shape).to(scores.dtype)


def consistency(batch: int, height: int, width: int, channels: int, classes: int) -> Side:
    *arrays, labels = inputs.sipe_maps(batch, height, width, channels, classes)
    compared, features, logits = map(channels_first, arrays)
    features.requires_grad_()
    logits.requires_grad_()
    present = F.pad(torch.from_numpy(labels).to(DEVICE), (1, 0), value=1.0)[:, :, None, None]

    def run() -> tuple[torch.Tensor, ...]:
        attention = _by_peak(F.relu(logits))
        background = 1 - attention.amax(dim=1, keepdim=True)
        scores = torch.cat([background, attention], dim=1) * present
        seeds = _seeds(compared, scores) * present
        means = torch.einsum("bnhw,bkhw->bnk", seeds, features) / (height * width)
        maps = F.relu(F.cosine_similarity(features[:, None], means[..., None, None], dim=2))
        loss = (scores - _by_peak(maps)).abs().mean()
        slopes = torch.autograd.grad(loss, (logits, features))
        wait()
        return loss, *slopes

    def numbers(output: tuple[torch.Tensor, ...]) -> dict[str, np.ndarray]:
        loss, to_logits, to_features = output
        return {
            "loss": loss.detach().cpu().numpy(),
            "gradient to the logits": channels_last(to_logits),
            "gradient to the features": channels_last(to_features),
        }

    return Side(run, numbers, images=batch)
