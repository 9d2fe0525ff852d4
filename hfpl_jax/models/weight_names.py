"""Names of the arrays in public weight files, as data: our path on the left, the file's key on the right.

`{i}` stands for a number, `{norm}` for a vector of batch normalisation (`NORM`). Paths carry no collection; `mean` and
`var` live in `batch_stats`, the rest in `params`.
"""

NORM = {"scale": "weight", "bias": "bias", "mean": "running_mean", "var": "running_var"}

RESNET = {
    "stem/kernel": "conv1.weight",
    "stem/{norm}": "bn1.{norm}",
    "layer{i}/block{i}/conv{i}/kernel": "layer{i}.{i}.conv{i}.weight",
    "layer{i}/block{i}/conv{i}/{norm}": "layer{i}.{i}.bn{i}.{norm}",
    "layer{i}/block{i}/downsample/kernel": "layer{i}.{i}.downsample.0.weight",
    "layer{i}/block{i}/downsample/{norm}": "layer{i}.{i}.downsample.1.{norm}",
}
"""torchvision's ResNet-18 ... 101. timm's resnet18 ... 101 use the same names; its variants with another stem or
shortcut (resnet50d, ...) are other networks."""

NOT_BACKBONE = r"fc\.(weight|bias)|.*\.num_batches_tracked"
"""Keys a file may have that no backbone uses: the ImageNet classifier and torch's counters of training batches."""
