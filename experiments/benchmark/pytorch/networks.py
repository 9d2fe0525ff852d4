"""SEAM's network in PyTorch: ResNet-50 at output stride 16, or the wide ResNet-38,
under the names that public weights have.
"""

import torch
import torch.nn.functional as F
from torch import nn

from experiments.parity.golden_weights import golden_array

TIE = 6e-8  # of 1 - p, as in the library


def _conv(inputs: int, outputs: int, kernel: int, stride: int = 1, dilation: int = 1) -> nn.Conv2d:
    return nn.Conv2d(
        inputs, outputs, kernel, stride, dilation * (kernel // 2), dilation, bias=False
    )


class Bottleneck(nn.Module):
    """1x1 - 3x3 - 1x1; the 3x3 convolution carries the stride (v1.5)."""

    def __init__(self, inputs: int, planes: int, stride: int, dilation: int):
        super().__init__()
        self.conv1, self.bn1 = _conv(inputs, planes, 1), nn.BatchNorm2d(planes)
        self.conv2, self.bn2 = _conv(planes, planes, 3, stride, dilation), nn.BatchNorm2d(planes)
        self.conv3, self.bn3 = _conv(planes, 4 * planes, 1), nn.BatchNorm2d(4 * planes)
        self.downsample = None
        if inputs != 4 * planes or stride != 1:
            self.downsample = nn.Sequential(
                _conv(inputs, 4 * planes, 1, stride), nn.BatchNorm2d(4 * planes)
            )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = F.relu(self.bn1(self.conv1(x)), inplace=True)
        y = F.relu(self.bn2(self.conv2(y)), inplace=True)
        y = self.bn3(self.conv3(y))
        return F.relu(y + (x if self.downsample is None else self.downsample(x)), inplace=True)


class ResNet50(nn.Module):
    """Output stride 16: the last stage keeps its resolution and is dilated, but for its
    first 3x3 convolution.
    """

    channels = (512, 1024, 2048)

    def __init__(self):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 64, 7, 2, 3, bias=False), nn.BatchNorm2d(64)
        inputs = 64
        for index, (count, stride, dilation) in enumerate(
            ((3, 1, 1), (4, 2, 1), (6, 2, 1), (3, 1, 2)), start=1
        ):
            planes = 32 * 2**index
            blocks = []
            for number in range(count):
                blocks.append(
                    Bottleneck(
                        inputs, planes, stride if number == 0 else 1, 1 if number == 0 else dilation
                    )
                )
                inputs = 4 * planes
            setattr(self, f"layer{index}", nn.Sequential(*blocks))

    def features(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        x = F.relu(self.bn1(self.conv1(x)), inplace=True)
        x = self.layer1(F.max_pool2d(x, 3, 2, 1))
        middle = self.layer2(x)
        later = self.layer3(middle)
        return middle, later, self.layer4(later)

    @staticmethod
    def frozen(name: str) -> bool:
        return (
            name.startswith(("conv1.", "bn1.", "layer1."))
            or ".bn" in name
            or ".downsample.1." in name
        )


class WideBlock(nn.Module):
    """Two 3x3 convolutions, each behind batch normalisation and ReLU."""

    def __init__(
        self, inputs: int, middle: int, outputs: int, stride: int, dilations: tuple[int, int]
    ):
        super().__init__()
        self.bn_branch2a, self.conv_branch2a = (
            nn.BatchNorm2d(inputs),
            _conv(inputs, middle, 3, stride, dilations[0]),
        )
        self.bn_branch2b1, self.conv_branch2b1 = (
            nn.BatchNorm2d(middle),
            _conv(middle, outputs, 3, 1, dilations[1]),
        )
        self.conv_branch1 = (
            None if inputs == outputs and stride == 1 else _conv(inputs, outputs, 1, stride)
        )

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        t = F.relu(self.bn_branch2a(x))
        y = self.conv_branch2b1(F.relu(self.bn_branch2b1(self.conv_branch2a(t))))
        return y + (x if self.conv_branch1 is None else self.conv_branch1(t)), t


class WideBottleneck(nn.Module):
    """1x1 - 3x3 - 1x1, the channels rising by halves; without its dropout."""

    def __init__(self, inputs: int, outputs: int, dilation: int):
        super().__init__()
        self.bn_branch2a, self.conv_branch2a = (
            nn.BatchNorm2d(inputs),
            _conv(inputs, outputs // 4, 1),
        )
        self.bn_branch2b1 = nn.BatchNorm2d(outputs // 4)
        self.conv_branch2b1 = _conv(outputs // 4, outputs // 2, 3, 1, dilation)
        self.bn_branch2b2, self.conv_branch2b2 = (
            nn.BatchNorm2d(outputs // 2),
            _conv(outputs // 2, outputs, 1),
        )
        self.conv_branch1 = _conv(inputs, outputs, 1)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        t = F.relu(self.bn_branch2a(x))
        y = self.conv_branch2b1(F.relu(self.bn_branch2b1(self.conv_branch2a(t))))
        y = self.conv_branch2b2(F.relu(self.bn_branch2b2(y)))
        return self.conv_branch1(t) + y, t


class ResNet38(nn.Module):
    """Output stride 8; the middle features are those that b5 and b6 compute first."""

    channels = (512, 1024, 4096)

    def __init__(self):
        super().__init__()
        self.conv1a = _conv(3, 64, 3)
        inputs = 64
        self.names = []
        for index, (count, outputs) in enumerate(((3, 128), (3, 256), (6, 512)), start=2):
            for number in range(count):
                self._add(
                    f"b{index}" if number == 0 else f"b{index}_{number}",
                    WideBlock(inputs, outputs, outputs, 2 if number == 0 else 1, (1, 1)),
                )
                inputs = outputs
        for name, dilations in (("b5", (1, 2)), ("b5_1", (2, 2)), ("b5_2", (2, 2))):
            self._add(name, WideBlock(inputs, 512, 1024, 1, dilations))
            inputs = 1024
        self._add("b6", WideBottleneck(1024, 2048, 4))
        self._add("b7", WideBottleneck(2048, 4096, 4))
        self.bn7 = nn.BatchNorm2d(4096)

    def _add(self, name: str, block: nn.Module) -> None:
        self.add_module(name, block)
        self.names.append(name)

    def features(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        x, normalized = self.conv1a(x), {}
        for name in self.names:
            x, normalized[name] = getattr(self, name)(x)
        return normalized["b5"], normalized["b6"], F.relu(self.bn7(x))

    @staticmethod
    def frozen(name: str) -> bool:
        return name.startswith(("conv1a.", "b2", "bn7.")) or ".bn_" in name


class Seam(nn.Module):
    """A classifier of every position and the pixel correlation module behind it; both
    maps at the image's size, and the raw logits.
    """

    def __init__(self, backbone: str, num_classes: int):
        super().__init__()
        self.backbone = ResNet38() if backbone == "resnet38" else ResNet50()
        middle, later, last = self.backbone.channels
        self.fc8 = nn.Conv2d(last, num_classes, 1, bias=False)
        self.f8_3, self.f8_4 = (
            nn.Conv2d(middle, 64, 1, bias=False),
            nn.Conv2d(later, 128, 1, bias=False),
        )
        self.f9 = nn.Conv2d(195, 192, 1, bias=False)
        for name, parameter in self.named_parameters():
            inner = name.removeprefix("backbone.")
            parameter.requires_grad_(inner == name or not self.backbone.frozen(inner))

    def fill(self) -> "Seam":
        """With the weights that the names determine; batch normalisation by its stored
        statistics, in training too.
        """
        with torch.no_grad():
            for name, array in self.state_dict().items():
                if not name.endswith("num_batches_tracked"):
                    array.copy_(
                        torch.from_numpy(
                            golden_array(name.removeprefix("backbone."), tuple(array.shape))
                        )
                    )
        return self.eval()

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        size = x.shape[2:]
        middle, later, last = self.backbone.features(x)
        logits = self.fc8(last)
        small = logits.shape[2:]
        with torch.no_grad():
            scores = F.relu(logits)
            peak = scores.flatten(2).max(-1).values[:, :, None, None]
            missing = (peak - scores + 2e-5) / (peak + 1e-5)
            scores = F.relu(scores - 1e-5) / (peak + 1e-5)
            strongest = scores.max(1, keepdim=True).values
            # Classes with their peak at one pixel are a tie there, which the original
            # leaves to the rounding of the division.
            scores[missing > missing.min(1, keepdim=True).values + TIE] = 0
            scores = torch.cat([1 - strongest, scores], 1)
        parts = [F.interpolate(x, small, mode="bilinear", align_corners=True)]
        for reduce, feature in ((self.f8_3, middle), (self.f8_4, later)):
            parts.append(
                F.relu(
                    F.interpolate(
                        reduce(feature.detach()), small, mode="bilinear", align_corners=True
                    )
                )
            )
        embedding = self.f9(torch.cat(parts, 1)).flatten(2)
        embedding = embedding / (torch.norm(embedding, dim=1, keepdim=True) + 1e-5)
        affinity = F.relu(torch.matmul(embedding.transpose(1, 2), embedding), inplace=True)
        affinity = affinity / (affinity.sum(1, keepdim=True) + 1e-5)
        corrected = torch.matmul(scores.flatten(2), affinity).view(*scores.shape)
        cam, corrected = (
            F.interpolate(maps, size, mode="bilinear", align_corners=True)
            for maps in (logits, corrected)
        )
        return cam, corrected, logits
