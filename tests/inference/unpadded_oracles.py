"""The networks and the walk for one photograph of its own size, in NumPy: nothing in
here has heard of padded batches.
"""

import numpy as np

from hfpl_jax.losses.affinity import map_radius
from hfpl_jax.resize import interpolation_matrix

BLOCKS = (3, 4, 6, 3)  # of a ResNet-50


def relu(x):
    return np.maximum(x, 0)


def elu(x):
    return np.where(x > 0, x, np.expm1(np.minimum(x, 0)))


def normalised(pixels):
    scaled = (pixels / np.float32(255) - np.float32([0.485, 0.456, 0.406])) / np.float32(
        [0.229, 0.224, 0.225]
    )
    return scaled.astype(np.float32)


def windows(x, side, stride, dilation, padding):
    """The pixels under each place of a kernel, row by row: [side * side] of [h, w,
    k].
    """
    height, width = (-(-length // stride) for length in x.shape[:2])
    reach = dilation * (side // 2)
    x = np.pad(x, ((reach, reach), (reach, reach), (0, 0)), constant_values=padding)
    for row in range(0, dilation * side, dilation):
        for column in range(0, dilation * side, dilation):
            yield x[
                row : row + stride * height : stride, column : column + stride * width : stride
            ][:height, :width]


def convolve(x, layer, path, stride=1, dilation=1):
    """Convolution and batch normalisation, [h, w, k]."""
    params, stats = (collection[path] for collection in layer)
    kernel = np.asarray(params["kernel"])
    taps = kernel.reshape(-1, *kernel.shape[2:])
    y = sum(
        np.tensordot(window, tap, 1)
        for window, tap in zip(windows(x, len(kernel), stride, dilation, 0), taps, strict=True)
    )
    return (y - stats["mean"]) / np.sqrt(stats["var"] + np.float32(1e-5)) * params[
        "scale"
    ] + params["bias"]


def resnet50(x, variables, output_stride):
    """Features of ResNet-50 v1 by name, [h, w, k]."""
    backbone = variables["params"]["backbone"], variables["batch_stats"]["backbone"]
    x = relu(convolve(x, backbone, "stem", 2))
    x = np.max(list(windows(x, 3, 2, 1, -np.inf)), axis=0)
    features, reached, dilation = {}, 4, 1
    for number, count in enumerate(BLOCKS, start=1):
        name, wanted = f"layer{number}", 1 if number == 1 else 2
        stride = wanted if reached * wanted <= output_stride else 1
        reached, dilation = reached * stride, dilation * wanted // stride
        for index in range(count):
            block = [collection[name][f"block{index}"] for collection in backbone]
            y = relu(convolve(x, block, "conv1", stride if index == 0 else 1))
            y = convolve(relu(convolve(y, block, "conv2", 1, dilation)), block, "conv3")
            x = relu(y + (convolve(x, block, "downsample", stride) if index == 0 else x))
        features[name] = x
    return features


def resized(x, size):
    """Bilinear, corners aligned."""
    rows, columns = (
        interpolation_matrix(source, target, True)
        for source, target in zip(x.shape[:2], size, strict=True)
    )
    return np.einsum("Hh,Ww,hwk->HWk", rows, columns, x, optimize=True)


def reduced(features, name, params, size):
    return resized(features[name] @ np.asarray(params[f"reduce_{name}"]["kernel"]), size)


def cam_logits(image, variables):
    """CAM's maps, and SEAM's: [h, w, c] both."""
    params, features = variables["params"], resnet50(image, variables, 16)
    logits = features["layer4"] @ np.asarray(params["head"]["kernel"])
    height, width, _ = logits.shape

    parts = [
        resized(image, (height, width)),
        *(relu(reduced(features, name, params, (height, width))) for name in ("layer2", "layer3")),
    ]
    embedding = (np.concatenate(parts, -1) @ np.asarray(params["embed"]["kernel"])).reshape(
        height * width, -1
    )
    unit = embedding / (np.linalg.norm(embedding, axis=1, keepdims=True) + 1e-5)
    alike = relu(unit @ unit.T)
    exact, peak = logits.astype(np.float64), logits.max((0, 1)).astype(np.float64)
    scores = np.where(peak > 1e-5, relu(exact - 1e-5) / (np.maximum(peak, 1e-5) + 1e-5), 0)
    scores = np.where(scores < scores.max(-1, keepdims=True) - 6e-8, 0, scores).reshape(
        height * width, -1
    )
    corrected = alike @ scores / (alike.sum(1, keepdims=True) + 1e-5)
    return logits, corrected.reshape(logits.shape)


def affinity_features(image, variables, cell):
    params, features = variables["params"], resnet50(image, variables, cell)
    size = features["layer4"].shape[:2]
    parts = [elu(reduced(features, name, params, size)) for name in ("layer2", "layer3", "layer4")]
    return elu(np.concatenate(parts, -1) @ np.asarray(params["embed"]["kernel"]))


def walked(features, scores, beta, steps):
    """`steps` steps of the walk with the whole matrix of affinities in float64, [h, w,
    k].
    """
    height, width, _ = features.shape
    radius = map_radius(height, width)
    row, column = (index.ravel() for index in np.indices((height, width)))
    down, right = row - row[:, None], column - column[:, None]
    pair = (down**2 + right**2 < radius**2) & ((down > 0) | ((down == 0) & (right > 0)))
    pair &= ((row < height - radius + 1) & (column >= radius - 1) & (column < width - radius + 1))[
        :, None
    ]
    features = features.reshape(height * width, -1).astype(np.float64)
    near = [np.exp(-np.abs(features - feature).mean(1)) for feature in features]
    matrix = np.where(pair, near, 0)
    matrix = (matrix + matrix.T + np.eye(height * width)) ** beta
    transition = np.linalg.matrix_power(matrix / matrix.sum(0), steps)
    return (transition.T @ scores.reshape(height * width, -1)).reshape(scores.shape)


def enlarged(scores, cell):
    """[cell h, cell w, k], bilinear, corners not aligned."""
    rows, columns = (interpolation_matrix(side, cell * side, False) for side in scores.shape[:2])
    return np.einsum("Hh,Ww,hwk->HWk", rows, columns, scores, optimize=True)
