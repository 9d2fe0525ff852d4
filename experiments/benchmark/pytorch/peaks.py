"""Peak response maps as the published program makes them, in PyTorch: one backward pass
a peak through convolutions with their own rule.
"""

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from experiments.benchmark import inputs
from experiments.benchmark.pytorch.losses import DEVICE, channels_first, wait
from experiments.benchmark.pytorch.networks import Seam
from experiments.benchmark.pytorch.seam import MEAN, STD
from experiments.benchmark.side import Side


class _Responding(torch.autograd.Function):
    """The value of a convolution; its backward pass hands on responses."""

    @staticmethod
    def forward(context, x, weight, stride, padding, dilation):
        context.save_for_backward(x, weight)
        context.options = stride, padding, dilation
        return F.conv2d(x, weight, None, stride, padding, dilation)

    @staticmethod
    def backward(context, response):
        x, weight = context.saved_tensors
        with torch.enable_grad():
            shifted = (x - x.min()).detach().requires_grad_()
            outputs = F.conv2d(shifted, F.relu(weight), None, *context.options)
            share = torch.where(outputs < 1e-10, 0.0, response / (outputs.abs() + 1e-10))
            (back,) = torch.autograd.grad(outputs, shifted, share.detach())
        return shifted.detach() * back, None, None, None, None


def _responds(convolution: nn.Conv2d) -> None:
    def forward(x: torch.Tensor) -> torch.Tensor:
        return _Responding.apply(
            x,
            convolution.weight,
            convolution.stride,
            convolution.padding,
            convolution.dilation,
        )

    convolution.forward = forward


def peak_by_peak(peaks: int, height: int, width: int) -> Side:
    network = Seam("resnet50", inputs.CLASSES).fill().to(DEVICE).requires_grad_(False)
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            _responds(module)
    image, _ = inputs.photograph(3, height, width)
    pixels = (channels_first(image[None]) / 255.0 - MEAN) / STD

    def run() -> np.ndarray:
        x = pixels.clone().requires_grad_()
        logits = network.fc8(network.backbone.features(x)[2])
        wanted = inputs.peaks(peaks, *logits.shape[2:])
        maps = []
        for label, row, column in wanted:
            start = torch.zeros_like(logits)
            start[0, label, row, column] = 1.0
            (back,) = torch.autograd.grad(logits, x, start, retain_graph=True)
            response = F.relu(back[0].sum(0))
            maps.append(response / response.sum())
        wait()
        return torch.stack(maps).cpu().numpy()

    return Side(run, lambda maps: {"responses": maps}, images=1)
