"""Scoring of CAMs and contours: ours, and one pass over the files for each threshold,
dilated contours, as published.
"""

import pathlib
import tempfile
from collections.abc import Callable

import numpy as np
from PIL import Image
from scipy import ndimage

from experiments.benchmark import inputs
from experiments.benchmark.inputs import CLASSES
from experiments.benchmark.side import Side
from hfpl_jax.data.example import decode_mask, encode_mask
from hfpl_jax.inference.cam_record import CamRecord, decode_maps, encode_maps
from hfpl_jax.masks import IGNORE
from hfpl_jax.metrics import contour_counts
from hfpl_jax.metrics.contour import boundary, tolerance_radius
from hfpl_jax.metrics.threshold_sweep import NUM_THRESHOLDS, THRESHOLDS, confusions, sweep_counts
from hfpl_jax.runtime.records import RecordReader, RecordWriter

K = CLASSES + 1


def _folder() -> tuple[tempfile.TemporaryDirectory, pathlib.Path]:
    """A folder that lives as long as the first value."""
    folder = tempfile.TemporaryDirectory()
    return folder, pathlib.Path(folder.name)


def _cams(index: int, height: int, width: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Two CAMs in steps of 1/255, their classes, and the true mask with a band of
    255.
    """
    maps = inputs.smooth(np.random.default_rng(index), height, width, 2)
    mask = inputs.photograph(index, height, width)[1]
    band = boundary(mask > 0)
    return (
        decode_maps(encode_maps(maps), maps.shape),
        np.array([2, 7]),
        np.where(band, np.uint8(IGNORE), mask),
    )


def sweep(photographs: int, height: int, width: int) -> Side:
    """Ours: one pass over records and masks."""
    kept, path = _folder()
    unread = np.zeros(K - 1, np.float32)  # probabilities
    with RecordWriter(path / "cams") as writer:
        for index in range(photographs):
            cams, classes, mask = _cams(index, height, width)
            writer.write(CamRecord(index, str(index), classes, classes, cams, unread).encode())
            (path / f"{index}.png").write_bytes(encode_mask(mask))

    def run(kept=kept) -> np.ndarray:
        counts = np.zeros((K, K, NUM_THRESHOLDS + 1), np.int64)
        for encoded in RecordReader(path / "cams"):
            record = CamRecord.decode(encoded)
            truth = decode_mask((path / f"{record.file_name}.png").read_bytes(), record.file_name)
            counts += sweep_counts(record.cams, record.classes, truth, num_classes=K)
        return confusions(counts)

    return Side(run, lambda matrices: {"confusion matrices": matrices}, images=photographs)


def sweep_by_threshold(photographs: int, height: int, width: int) -> Side:
    """For each threshold: load every file, put the threshold in channel 0 of 21, take
    the strongest channel, count each class.
    """
    kept, path = _folder()
    for index in range(photographs):
        cams, classes, mask = _cams(index, height, width)
        np.savez(
            path / f"{index}.npz",
            **{str(label): cams[..., place] for place, label in enumerate(classes)},
        )
        Image.fromarray(mask).save(path / f"{index}.png")

    def run(kept=kept) -> np.ndarray:
        matrices = np.zeros((NUM_THRESHOLDS, K, K), np.int64)
        for number, threshold in enumerate(THRESHOLDS):
            for index in range(photographs):
                tensor = np.zeros((K, height, width), np.float32)
                with np.load(path / f"{index}.npz") as file:
                    for label in file.files:
                        tensor[int(label) + 1] = file[label]
                tensor[0] = threshold
                prediction = tensor.argmax(axis=0).astype(np.uint8)
                truth = np.array(Image.open(path / f"{index}.png"))
                known = truth < IGNORE
                pairs = truth[known].astype(np.int64) * K + prediction[known]
                matrices[number] += np.bincount(pairs, minlength=K * K).reshape(K, K)
        return matrices

    return Side(run, lambda matrices: {"confusion matrices": matrices}, images=photographs)


def _contours(
    count: Callable[[np.ndarray, np.ndarray], np.ndarray], photographs: int, height: int, width: int
) -> Side:
    masks = [inputs.photograph(index, height, width)[1] for index in range(photographs)]
    moved = [np.roll(mask, (index + 2, 3), (0, 1)) for index, mask in enumerate(masks)]

    def run() -> np.ndarray:
        return np.sum(
            [count(prediction, truth) for prediction, truth in zip(moved, masks, strict=True)],
            axis=0,
        )

    return Side(run, lambda counts: {"matches and lengths": counts}, images=photographs)


def contour(**sizes: int) -> Side:
    return _contours(
        lambda prediction, truth: contour_counts(prediction, truth, num_classes=K), **sizes
    )


def contour_by_dilation(**sizes: int) -> Side:
    """Both contours of a class are dilated by a disk, as the DAVIS benchmark does it;
    only for classes that occur.
    """

    def count(prediction: np.ndarray, truth: np.ndarray) -> np.ndarray:
        radius = tolerance_radius(*truth.shape)
        y, x = np.mgrid[-radius : radius + 1, -radius : radius + 1]
        disk = y**2 + x**2 <= radius**2
        counts = np.zeros((CLASSES, 4), np.int64)
        for label in np.union1d(prediction, truth):
            if 0 < label < IGNORE:
                predicted, true = boundary(prediction == label), boundary(truth == label)
                near_predicted, near_true = (
                    ndimage.binary_dilation(edges, disk) for edges in (predicted, true)
                )
                counts[label - 1] = (
                    (predicted & near_true).sum(),
                    (true & near_predicted).sum(),
                    predicted.sum(),
                    true.sum(),
                )
        return counts

    return _contours(count, **sizes)
