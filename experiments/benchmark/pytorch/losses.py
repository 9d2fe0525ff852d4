"""The losses and the random walk as the published program computes them, in PyTorch; N
C H W inside, as there.
"""

import math

import numpy as np
import torch
import torch.nn.functional as F

from experiments.benchmark import inputs
from experiments.benchmark.side import Side
from hfpl_jax.losses.affinity import half_plane_offsets, map_radius

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


def wait() -> None:
    if DEVICE == "cuda":
        torch.cuda.synchronize()


def channels_first(array: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(np.moveaxis(array, -1, 1))).to(DEVICE)


def channels_last(tensor: torch.Tensor) -> np.ndarray:
    return np.moveaxis(tensor.detach().cpu().numpy(), 1, -1)


def feature_similarity_loss(
    x: torch.Tensor, y: torch.Tensor, *, mu: float = 2.5, sigma: float = 5.0
) -> torch.Tensor:
    """Colours [b, 3, h, w] and scores [b, k, h, w] -> the loss over all pairs, by
    distance matrices, tanh and log.
    """
    b, _, h, w = x.shape
    x, y = x.flatten(2).mT.contiguous(), y.flatten(2).mT.contiguous()
    distance = (torch.cdist(x, x, p=1) / x.shape[2]).clamp(0.0, 1.0)
    gate = torch.tanh(mu + torch.log((distance + 1e-5) / (1.0 - distance + 1e-5)))
    rows, columns = torch.meshgrid(
        torch.arange(h, device=x.device), torch.arange(w, device=x.device), indexing="ij"
    )
    place = torch.stack([rows.flatten(), columns.flatten()], dim=1).float()
    apart = torch.cdist(place, place).square()
    near = torch.exp(-apart / (2.0 * sigma**2)) / (2.0 * math.pi * sigma**2)
    difference = 0.5 * torch.cdist(y, y).square()
    return -(near * gate * difference).sum() / (b * h * w)


def feature_similarity(batch: int, height: int, width: int, channels: int, window: int) -> Side:
    del window  # all pairs
    x, y = map(channels_first, inputs.colours_and_scores(batch, height, width, channels))
    y.requires_grad_()

    def run() -> tuple[torch.Tensor, torch.Tensor]:
        loss = feature_similarity_loss(x, y)
        (gradient,) = torch.autograd.grad(loss, y)
        wait()
        return loss, gradient

    return Side(
        run,
        lambda output: {
            "loss": output[0].detach().cpu().numpy(),
            "gradient": channels_last(output[1]),
        },
        images=batch,
    )


def sampling_weights(logits: torch.Tensor) -> torch.Tensor:
    """[b, c, h, w] -> [b, c, n]."""
    return torch.sigmoid(logits.detach()).flatten(2) + 1e-5


def sampled_loss(logits: torch.Tensor, labels: torch.Tensor, pixels: torch.Tensor) -> torch.Tensor:
    """The soft-margin loss of the logits at `pixels` [b, c, s], the image label
    repeated over the draws.
    """
    b, c, draws = pixels.shape
    sampled = torch.gather(logits.flatten(2), 2, pixels).transpose(1, 2).reshape(b * draws, c)
    return F.multilabel_soft_margin_loss(
        sampled, labels[:, None].expand(b, draws, c).reshape(b * draws, c)
    )


def importance_sampling(batch: int, height: int, width: int, classes: int) -> Side:
    arrays = inputs.logits_and_labels(batch, height, width, classes)
    logits, labels, pixels = (
        channels_first(arrays[0]).requires_grad_(),
        *(torch.from_numpy(array).to(DEVICE) for array in arrays[1:]),
    )

    def at(pixels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        loss = sampled_loss(logits, labels, pixels)
        (gradient,) = torch.autograd.grad(loss, logits)
        wait()
        return loss, gradient

    def run() -> tuple[torch.Tensor, torch.Tensor]:
        return at(
            torch.distributions.Categorical(probs=sampling_weights(logits))
            .sample((10,))
            .permute(1, 2, 0)
        )

    def numbers(_) -> dict[str, np.ndarray]:
        loss, gradient = at(pixels.long())
        weights = sampling_weights(logits)
        share = weights / weights.sum(-1, keepdim=True)
        return {
            "loss": loss.detach().cpu().numpy(),
            "gradient": channels_last(gradient),
            "distribution": share.cpu().numpy(),
        }

    return Side(run, numbers, images=batch)


def dense_walk(height: int, width: int, channels: int, scores: int) -> Side:
    """Affinities of all pairs, scattered into a dense [n, n] matrix that is squared six
    times.
    """
    features = channels_first(inputs.walk_features(height, width, channels)[None])[0].flatten(1)
    maps = channels_first(inputs.score_maps(height, width, scores)[None])[0].flatten(1)
    radius = map_radius(height, width)
    pixels = np.arange(height * width).reshape(height, width)
    sources = pixels[: height - radius + 1, radius - 1 : width - radius + 1].ravel()
    others = np.stack([sources + dy * width + dx for dy, dx in half_plane_offsets(radius)])
    start, end = torch.from_numpy(sources).to(DEVICE), torch.from_numpy(others).to(DEVICE)

    def run() -> torch.Tensor:
        near = torch.index_select(features, 1, start)[:, None]
        far = torch.index_select(features, 1, end.flatten()).view(len(features), *end.shape)
        affinity = torch.exp(-torch.mean(torch.abs(near - far), dim=0)).flatten()
        rows, columns = start.repeat(len(end)), end.flatten()
        diagonal = torch.arange(height * width, device=DEVICE)
        places = torch.stack(
            [torch.cat([rows, columns, diagonal]), torch.cat([columns, rows, diagonal])]
        )
        values = torch.cat([affinity, affinity, torch.ones_like(diagonal, dtype=affinity.dtype)])
        transition = (
            torch.sparse_coo_tensor(
                places, values, (height * width,) * 2, check_invariants=False
            ).to_dense()
            ** 8
        )
        transition = transition / transition.sum(dim=0, keepdim=True)
        for _ in range(6):
            transition = torch.matmul(transition, transition)
        walked = torch.matmul(maps, transition)
        wait()
        return walked

    return Side(
        run,
        lambda walked: {"scores": walked.T.reshape(height, width, scores).cpu().numpy()},
        images=1,
    )
