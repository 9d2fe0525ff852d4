"""Dense CRF: ours beside pydensecrf, of one photograph and of a split, as the stage runs
it.
"""

import multiprocessing
from collections.abc import Callable, Sequence
from concurrent import futures

import jax
import numpy as np

from experiments.benchmark import inputs
from experiments.benchmark.side import Side, cores
from hfpl_jax.data.example import Example
from hfpl_jax.inference.cam_record import CamRecord
from hfpl_jax.refine import PUBLISHED_CRF, CrfSettings, dense_crf
from hfpl_jax.refine.background import threshold_background
from hfpl_jax.refine.crf import Crf
from hfpl_jax.refine.crf_settings import LEAST_PROBABILITY
from hfpl_jax.refine.on_host import on_host, photograph_of
from hfpl_jax.refine.refiner import most_probable
from hfpl_jax.runtime.records import Record

THRESHOLD = 0.5


def _by_pydensecrf(
    image: np.ndarray, probabilities: np.ndarray, settings: CrfSettings
) -> np.ndarray:
    from pydensecrf import densecrf

    height, width, labels = probabilities.shape
    field = densecrf.DenseCRF2D(width, height, labels)
    unary = -np.log(np.clip(probabilities, LEAST_PROBABILITY, 1.0)).reshape(-1, labels).T
    field.setUnaryEnergy(np.ascontiguousarray(unary))
    field.addPairwiseGaussian(sxy=settings.gaussian_sxy, compat=settings.gaussian_weight)
    field.addPairwiseBilateral(
        sxy=settings.bilateral_sxy,
        srgb=settings.bilateral_srgb,
        rgbim=np.array(image),
        compat=settings.bilateral_weight,
    )
    return np.asarray(field.inference(settings.iterations)).T.reshape(height, width, labels)


def _shares(masks: Sequence[np.ndarray], labels: int) -> dict[str, np.ndarray]:
    """Each label's share of each row, so that a difference is a share of the pixels."""
    shares = [(mask[..., None] == np.arange(labels)).mean(axis=1) for mask in masks]
    return {"labels": np.concatenate(shares)}


def _of_one(
    function: Callable[[np.ndarray, np.ndarray], np.ndarray], height: int, width: int, labels: int
) -> Side:
    scores = inputs.score_maps(height, width, labels)
    image = inputs.photograph(7, height, width)[0]
    probabilities = (scores / scores.sum(axis=-1, keepdims=True)).astype(np.float32)
    return Side(
        lambda: function(image, probabilities),
        lambda marginals: _shares([marginals.argmax(axis=-1)], labels),
        images=1,
    )


def of_photograph(height: int, width: int, labels: int) -> Side:
    algorithm = "lattice" if jax.default_backend() == "cpu" else "exact"
    return _of_one(
        lambda *arrays: dense_crf(*arrays, settings=PUBLISHED_CRF, algorithm=algorithm),
        height,
        width,
        labels,
    )


def pydensecrf(height: int, width: int, labels: int) -> Side:
    return _of_one(
        lambda *arrays: _by_pydensecrf(*arrays, PUBLISHED_CRF),
        height,
        width,
        labels,
    )


Photographs = Sequence[tuple[int, int, int]]
"""Height, width and classes of each."""
Kernel = tuple[float, float, float]
"""Pixels, grey levels and weight of the kernel that follows colours."""


def _pairs(photographs: Photographs) -> list[tuple[Record, Example]]:
    """CAM records, each with its photograph, as the stage reads them."""
    pairs = []
    for index, (height, width, count) in enumerate(photographs):
        example = inputs.example(index, height, width)
        classes = np.arange(count)
        cams = inputs.smooth(np.random.default_rng(index), height, width, count)
        none = np.zeros(inputs.CLASSES, np.float32)
        record = CamRecord(index, example.file_name, classes, classes, cams, none)
        pairs.append((record.encode(), example))
    return pairs


def _of_split(run: Callable[[], list[np.ndarray]], photographs: Photographs) -> Side:
    labels = 1 + max(count for *_, count in photographs)
    return Side(run, lambda masks: _shares(masks, labels), images=len(photographs))


def of_split(photographs: Photographs, kernel: Kernel) -> Side:
    """Ours: a photograph a thread, from JPEG and CAM record to mask."""
    pairs, crf = _pairs(photographs), Crf("lattice", 10, *kernel)

    def run() -> list[np.ndarray]:
        refined = on_host(crf.refine, pairs, threshold=THRESHOLD, done=set())
        return [made.mask for _, made in refined]

    return _of_split(run, photographs)


_pairs_of_process: list[tuple[Record, Example]] = []


def _read(photographs: Photographs) -> None:
    _pairs_of_process[:] = _pairs(photographs)


def _mask(index: int, settings: CrfSettings) -> np.ndarray:
    record, example = _pairs_of_process[index]
    photograph = photograph_of(CamRecord.decode(record), example, THRESHOLD)
    scores = threshold_background(photograph.cams, photograph.threshold)
    probabilities = scores / scores.sum(axis=-1, keepdims=True)
    marginals = _by_pydensecrf(photograph.image, probabilities, settings)
    return most_probable(marginals, photograph.classes).mask


def pydensecrf_split(photographs: Photographs, kernel: Kernel) -> Side:
    """The same by pydensecrf, in as many processes as there are cores, which take the next
    photograph as soon as they are done with one.
    """
    sxy, srgb, weight = kernel
    settings = CrfSettings(bilateral_sxy=sxy, bilateral_srgb=srgb, bilateral_weight=weight)
    pool = futures.ProcessPoolExecutor(
        cores(), multiprocessing.get_context("spawn"), _read, (photographs,)
    )
    count = len(photographs)
    return _of_split(
        lambda: list(pool.map(_mask, range(count), [settings] * count)),
        photographs,
    )
