"""SEAM with the HFPL losses as published, in PyTorch: a training step, and inference
one image and one scale at a time.
"""

import pathlib
import tempfile
from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image

from experiments.benchmark import inputs
from experiments.benchmark.inputs import CLASSES
from experiments.benchmark.pytorch.losses import (
    DEVICE,
    channels_first,
    feature_similarity_loss,
    sampled_loss,
    wait,
)
from experiments.benchmark.pytorch.networks import Seam
from experiments.benchmark.side import Side
from hfpl_jax.data.example import decode_image

MEAN, STD = (
    torch.tensor(values, device=DEVICE)[:, None, None]
    for values in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
)
LEARNING_RATE, MOMENTUM, DECAY, ISL_WEIGHT = 0.01, 0.0005, 5e-4, 0.2
SIGMA = {"resnet50": 2.5, "resnet38": 5.0}
WATCHED = {
    "resnet50": {
        "head": "fc8.weight",
        "embed": "f9.weight",
        "middle": "backbone.layer3.2.conv2.weight",
    },
    "resnet38": {
        "head": "fc8.weight",
        "embed": "f9.weight",
        "middle": "backbone.b4_2.conv_branch2a.weight",
    },
}


def _max_norm(maps: torch.Tensor) -> torch.Tensor:
    maps = F.relu(maps)
    flat = maps.flatten(2)
    high, low = flat.max(-1).values[:, :, None, None], flat.min(-1).values[:, :, None, None]
    return F.relu(maps - low - 1e-5) / (high - low + 1e-5)


def _with_background(maps: torch.Tensor) -> torch.Tensor:
    return torch.cat([1 - maps.max(1, keepdim=True).values, maps], 1)


def _strongest(maps: torch.Tensor) -> torch.Tensor:
    maps = maps.detach().clone()
    foreground = maps[:, 1:]
    foreground[foreground != foreground.max(1, keepdim=True).values] = 0
    return maps


def _hardest(distance: torch.Tensor) -> torch.Tensor:
    flat = distance.flatten(1)
    return torch.topk(flat, int(flat.shape[1] * 0.2), dim=-1).values.mean()


def _min_pooling(corrected: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    strongest = (corrected * labels).max(1).values.flatten(1)
    return F.relu(
        torch.topk(strongest, strongest.shape[1] // 4, dim=-1, largest=False).values
    ).mean()


def _losses(
    network: Seam, images: torch.Tensor, labels: torch.Tensor, fractions: torch.Tensor, sigma: float
) -> dict[str, torch.Tensor]:
    small = F.interpolate(
        images,
        tuple(int(side * 0.3) for side in images.shape[2:]),
        mode="bilinear",
        align_corners=True,
    )
    (cam1, corrected1, logits1), (cam2, corrected2, _) = network(images), network(small)
    present = labels[:, :, None, None]
    with_background = F.pad(present, (0, 0, 0, 0, 1, 0), value=1.0)

    def at_view2(maps: torch.Tensor) -> torch.Tensor:
        return F.interpolate(_max_norm(maps), small.shape[2:], mode="bilinear", align_corners=True)

    y1, y2 = at_view2(cam1) * present, _max_norm(cam2) * present
    r1, r2 = at_view2(corrected1) * with_background, _max_norm(corrected2) * with_background
    gap1, gap2 = (
        F.multilabel_soft_margin_loss(F.adaptive_avg_pool2d(cam, 1).flatten(1), labels)
        for cam in (cam1, cam2)
    )
    pixels = (fractions * logits1[0, 0].numel()).long()
    h, w = logits1.shape[2:]
    colours = (
        F.interpolate(images, (h, w), mode="bilinear", align_corners=True) * STD + MEAN
    ).clamp(0, 1)
    return {
        "classification": (1 - ISL_WEIGHT) * gap1
        + ISL_WEIGHT * sampled_loss(logits1, labels, pixels),
        "classification_view2": gap2,
        "min_pooling": _min_pooling(corrected1[:, 1:], present)
        + _min_pooling(corrected2[:, 1:], present),
        "equivariance": (y1 - y2).abs().mean(),
        "equivariant_cross": _hardest((_strongest(_with_background(y2)) - r1).abs())
        + _hardest((_strongest(_with_background(y1)) - r2).abs()),
        "feature_similarity": feature_similarity_loss(
            colours, _with_background(_max_norm(logits1) * present), sigma=sigma
        ),
    }


def step(backbone: str, crop: int, batch: int) -> Side:
    """A training step. The crops are normalised in it, as ours are; dropout and drawn
    pixels as in ours.
    """
    images, labels, fractions = inputs.crops(batch, crop)
    network = Seam(backbone, CLASSES).fill().to(DEVICE)
    new = [
        parameter
        for name, parameter in network.named_parameters()
        if not name.startswith("backbone.")
    ]
    old = [
        parameter
        for name, parameter in network.named_parameters()
        if name.startswith("backbone.") and parameter.requires_grad
    ]
    groups = [{"params": old, "lr": LEARNING_RATE}, {"params": new, "lr": 10 * LEARNING_RATE}]
    optimizer = torch.optim.SGD(groups, lr=LEARNING_RATE, momentum=MOMENTUM, weight_decay=DECAY)
    pixels, targets = channels_first(images), torch.from_numpy(labels).to(DEVICE)
    places = torch.from_numpy(fractions).to(DEVICE)
    parameters = dict(network.named_parameters())

    def watched() -> dict[str, np.ndarray]:
        return {
            name: parameters[key].detach().cpu().numpy().copy()
            for name, key in WATCHED[backbone].items()
        }

    before = watched()

    def run() -> dict[str, torch.Tensor]:
        losses = _losses(network, (pixels / 255.0 - MEAN) / STD, targets, places, SIGMA[backbone])
        classification = (losses["classification"] + losses["classification_view2"]) / 2 + losses[
            "min_pooling"
        ] / 2
        total = (
            classification
            + losses["equivariance"]
            + losses["equivariant_cross"]
            + losses["feature_similarity"]
        )
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
        wait()
        return {"loss": total, **losses}

    def numbers(losses: dict[str, torch.Tensor]) -> dict[str, np.ndarray]:
        squares = sum(float(parameter.grad.double().square().sum()) for parameter in (*old, *new))
        updates = {f"update of {name}": array - before[name] for name, array in watched().items()}
        return {
            **{name: loss.detach().cpu().numpy() for name, loss in losses.items()},
            "gradient_norm": np.sqrt(squares),
            **updates,
        }

    return Side(run, numbers, images=batch)


def inference(photographs: Sequence[tuple[int, int]], scales: Sequence[float]) -> Side:
    """Each image at each scale, plain and mirrored, on its own; the summed and
    normalised maps of its classes as .npz.
    """
    network, folder = Seam(50, CLASSES).fill().to(DEVICE), tempfile.TemporaryDirectory()
    examples = [inputs.example(index, *size) for index, size in enumerate(photographs)]

    def maps(image: Image.Image, scale: float, mirrored: bool, classes: np.ndarray) -> np.ndarray:
        scaled = image.resize(
            (round(image.width * scale), round(image.height * scale)), Image.Resampling.BICUBIC
        )
        pixels = channels_first(
            np.asarray(scaled)[None, :, ::-1] if mirrored else np.asarray(scaled)[None]
        )
        with torch.no_grad():
            corrected = network((pixels / 255.0 - MEAN) / STD)[1][:, 1:]
            raised = F.interpolate(
                corrected, (image.height, image.width), mode="bilinear", align_corners=False
            )[0]
        raised = raised.cpu().numpy()[classes]
        return raised[:, :, ::-1] if mirrored else raised

    def run(folder=folder) -> pathlib.Path:
        for example in examples:
            image = Image.fromarray(decode_image(example.image, example.file_name))
            summed = sum(
                maps(image, scale, mirrored, example.labels)
                for scale in scales
                for mirrored in (False, True)
            )
            summed = np.maximum(summed, 0.0)
            low, high = summed.min((1, 2), keepdims=True), summed.max((1, 2), keepdims=True)
            summed[summed < low + 1e-5] = 0
            cams = (summed - low - 1e-5) / (high - low + 1e-5)
            np.savez(
                pathlib.Path(folder.name) / example.file_name,
                **{str(label): cam for label, cam in zip(example.labels, cams, strict=True)},
            )
        return pathlib.Path(folder.name)

    def numbers(path: pathlib.Path) -> dict[str, np.ndarray]:
        found = {}
        for example in examples:
            with np.load(path / f"{example.file_name}.npz") as file:
                found[example.file_name] = np.clip(
                    np.stack([file[str(label)] for label in example.labels], axis=-1), 0.0, 1.0
                )
        return found

    return Side(run, numbers, images=len(examples))
