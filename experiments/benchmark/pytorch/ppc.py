"""PPC's terms of contrast as the published program computes them, in PyTorch: a loop
over the classes, which picks the pixels of each.
"""

import numpy as np
import torch
import torch.nn.functional as F

from experiments.benchmark import inputs
from experiments.benchmark.pytorch.losses import DEVICE, channels_first, channels_last, wait
from experiments.benchmark.side import Side


def _scores(corrected: torch.Tensor) -> torch.Tensor:
    activation = F.relu(corrected.detach())
    flat = activation.flatten(2)
    low, high = flat.amin(-1)[..., None, None], flat.amax(-1)[..., None, None]
    activation = torch.where(activation < low + 1e-5, 0.0, activation)
    scores = (activation - low - 1e-5) / (high - low + 1e-5)
    scores[:, 0] = 0.2
    return scores


def _prototypes(features: torch.Tensor, scores: torch.Tensor, first: bool) -> torch.Tensor:
    """`first`: the background's, whose scores are tied, is made of the first pixels."""
    count = scores.shape[2] * scores.shape[3] // 8
    rows = features.detach().permute(0, 2, 3, 1).flatten(0, 2)
    values, pixels = torch.topk(scores.transpose(0, 1).flatten(1), count, dim=-1)
    if first:
        pixels[0] = torch.arange(count, device=DEVICE)
    prototypes = torch.zeros(len(values), rows.shape[1], device=DEVICE)
    for label in range(len(values)):
        picked = rows[pixels[label]]
        prototypes[label] = (values[label][:, None] * picked).sum(0) / values[label].sum()
    return F.normalize(prototypes, dim=-1)


def _across(unit: torch.Tensor, prototypes: torch.Tensor, classes: torch.Tensor) -> torch.Tensor:
    positive = torch.exp((unit * prototypes[classes]).sum(-1) / 0.1)
    every = torch.exp(unit @ prototypes.T / 0.1).sum(-1)
    return -torch.log(positive / every).mean()


def _within(
    unit: torch.Tensor, prototypes: torch.Tensor, classes: torch.Tensor, numbers: torch.Tensor
) -> torch.Tensor:
    similarities = unit @ prototypes.T
    ranked = torch.sort(similarities, dim=-1, descending=True).indices[:, 3:13]
    negative = torch.exp(torch.gather(similarities, 1, ranked) / 0.1).sum(-1)
    total, present = torch.zeros((), device=DEVICE), classes.unique()
    for label in present:
        members = torch.nonzero(classes == label)[:, 0]
        half, end = len(members) // 2, int(0.6 * len(members))
        if not half:
            continue
        own = similarities[members, label]
        hard = members[torch.argsort(own)[:end][end - half :]]
        drawn = members[torch.argsort(numbers[members])[:half]]
        picked = torch.cat([drawn, hard])
        positive = torch.exp(similarities[picked, label] / 0.1)
        total = total - torch.log(positive / (positive + negative[picked])).mean()
    return total / len(present)


def contrast(batch: int, **sizes: int) -> Side:
    features, corrected, labels, order = inputs.contrast_views(batch, **sizes)
    maps = [channels_first(each).requires_grad_() for each in features]
    corrected = [channels_first(each) for each in corrected]
    present = F.pad(torch.from_numpy(labels).to(DEVICE), (1, 0), value=1.0)[:, :, None, None]
    given = torch.from_numpy(order).to(DEVICE).flatten(1)
    size = corrected[1].shape[2:]

    def at_view2(each: torch.Tensor) -> torch.Tensor:
        return F.interpolate(each, size, mode="bilinear", align_corners=True)

    def at(numbers: torch.Tensor, first: bool) -> tuple[dict[str, torch.Tensor], tuple]:
        projected = [at_view2(each) for each in maps]
        scores = [_scores(at_view2(each)) for each in corrected]
        y1, y2 = (F.softmax(each * present, dim=1).argmax(1).flatten() for each in scores)
        p1, p2 = (_prototypes(*pair, first=first) for pair in zip(projected, scores, strict=True))
        a, b = (F.normalize(each.permute(0, 2, 3, 1).flatten(0, 2), dim=-1) for each in projected)
        losses = {
            "cross_prototype": (_across(a, p2, y1) + _across(b, p1, y2)) / 2,
            "cross_cam": (_across(a, p1, y2) + _across(b, p2, y1)) / 2,
            "intra_view": (_within(a, p1, y1, numbers[0]) + _within(b, p2, y2, numbers[1])) / 2,
        }
        slopes = torch.autograd.grad(0.1 * sum(losses.values()), maps)
        wait()
        return losses, slopes

    def numbers(_) -> dict[str, np.ndarray]:
        losses, slopes = at(given, first=True)
        gradients = {f"gradient {i}": channels_last(each) for i, each in enumerate(slopes, start=1)}
        return gradients | {name: loss.detach().cpu().numpy() for name, loss in losses.items()}

    return Side(lambda: at(torch.rand_like(given), first=False), numbers, images=batch)
