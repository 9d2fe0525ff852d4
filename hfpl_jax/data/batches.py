"""A split as an endless stream of training batches whose content is a function of
(seed, step) alone.

source -> shuffle -> repeat (reshuffled every epoch) -> augment -> rows of this process
-> batch -> start at a step -> threads or processes

Augmenting comes before dividing, so the global batch holds the same crops of the same
images in the same rows on 1, 2 or 4 processes, and starting at step k gives what an
undisturbed run sees from step k on.
"""

import dataclasses
import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator, Sequence
from typing import Protocol

import grain
import jax
import numpy as np
from absl import flags

from hfpl_jax.data.dataset import Example, decode_image
from hfpl_jax.data.transforms.train_crop import train_crop
from hfpl_jax.errors import InputError

_THREADS = 4
"""Threads that read ahead, one batch each. Pillow lets go of the interpreter lock while
it decodes and resamples.
"""


def multi_hot(labels: np.ndarray, num_classes: int, file_name: str) -> np.ndarray:
    """Foreground indices -> float32 [num_classes] of zeros and ones.

    Raises:
      InputError: an index is outside the classes.
    """
    labels = np.asarray(labels, np.int64)
    if labels.size and not 0 <= labels.min() <= labels.max() < num_classes:
        raise InputError(
            f"{file_name} has the labels {labels.tolist()}, but the model has {num_classes} "
            f"classes, numbered 0 to {num_classes - 1}. "
            "Use the number of classes of the dataset, or prepare the dataset again."
        )
    row = np.zeros(num_classes, np.float32)
    row[labels] = 1.0
    return row


@dataclasses.dataclass(frozen=True)
class TrainCrop(grain.transforms.RandomMap):
    """Example -> a randomly augmented crop: "image" uint8 [crop, crop, 3], "valid" bool
    [crop, crop] (False on padding, where the image is 0), "labels" float32
    [num_classes]. A class, not a closure, because it travels to worker processes.

    Attributes:
      num_classes: foreground classes.
      crop_size: side of the square crop in pixels.
      resize_range: smallest and largest long side of the resized image in pixels, drawn
        uniformly, both included.
      jitter: whether colours are jittered.

    Raises:
      InputError: a size is out of range; while mapping: an image cannot be decoded or
        has a label outside the classes.
    """

    num_classes: int
    crop_size: int
    resize_range: tuple[int, int]
    jitter: bool = True

    def __post_init__(self):
        low, high = self.resize_range
        if not 1 <= low <= high:
            raise InputError(
                f"The resized long side's range is ({low}, {high}), but must be two positive pixel "
                "counts, the smaller one first."
            )
        if self.crop_size < 1:
            raise InputError(
                f"The crop size is {self.crop_size}, but must be a positive number of pixels."
            )

    def random_map(self, example: Example, rng: np.random.Generator) -> dict[str, np.ndarray]:
        image = decode_image(example.image, example.file_name)
        crop, valid = train_crop(
            rng, image, crop_size=self.crop_size, resize_range=self.resize_range, jitter=self.jitter
        )
        return {
            "image": crop,
            "valid": valid,
            "labels": multi_hot(example.labels, self.num_classes, example.file_name),
        }


def _end_with_parent() -> None:
    """A command that is killed, or stopped at once, cannot end its workers."""
    multiprocessing.parent_process().join()
    os._exit(1)


def _set_up_worker(worker_index: int, worker_count: int) -> None:
    del worker_index, worker_count
    threading.Thread(target=_end_with_parent, daemon=True).start()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches it too; its parent ends it
    # Grain imports jax. A worker never computes with it, but must not take an
    # accelerator's memory if anything it imports does.
    jax.config.update("jax_platforms", "cpu")


class _ProcessRows(Sequence):
    """Of an endless sequence cut into global batches, the elements of each that belong
    to one process: the p-th of equal parts.
    """

    def __init__(
        self, elements: grain.MapDataset, *, batch_size: int, process_index: int, process_count: int
    ):
        self._elements, self._batch_size = elements, batch_size
        self._rows = batch_size // process_count
        self._first = process_index * self._rows

    def __len__(self) -> int:
        # Grain counts batches in float64, which would round the largest number upwards.
        return min(len(self._elements), 2**53) // self._batch_size * self._rows

    def __getitem__(self, index: int):
        step, row = divmod(index, self._rows)
        return self._elements[step * self._batch_size + self._first + row]


def _in_rows(batch: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Elements of several rows each, one behind the other."""
    return {name: array.reshape(-1, *array.shape[2:]) for name, array in batch.items()}


class BatchStream(Iterator[dict[str, np.ndarray]], Protocol):
    """Batches without end; `close()` ends the processes that make them."""

    def close(self) -> None: ...


def batch_stream(
    source: Sequence,
    transform: grain.transforms.RandomMap,
    *,
    batch_size: int,
    seed: int,
    start_step: int = 0,
    process_index: int = 0,
    process_count: int = 1,
    num_workers: int = 0,
    rows: int = 1,
) -> BatchStream:
    """Endless batches of randomly transformed elements: the order above, for any source
    and any augmentation.

    Args:
      source: random access to the elements; it may be smaller than a batch.
      transform: element -> dict of arrays of one size.
      batch_size: rows of the global batch, over all processes.
      seed: any non-negative integer; fixes order and augmentations.
      start_step: the first batch is what a run from the start would see as its batch
        `start_step`.
      process_index: this process's number p; its rows are the p-th of `process_count`
        equal parts of the global batch.
      process_count: how many processes share the global batch.
      num_workers: worker processes; 0 works on threads of this process. The batches do
        not depend on it.
      rows: of a batch that an element becomes; where they are several, `transform`
        gives arrays with an axis of them in front. They lie together.

    Returns:
      Stacked dicts with batch_size // process_count rows.

    Raises:
      InputError: the source is empty, the batch size is no multiple of the process
        count and the rows of an element.
    """
    if len(source) == 0:
        raise InputError(
            "The training split holds no images. Check the split file, or the labels file, and "
            "prepare the dataset again."
        )
    if batch_size < 1 or batch_size % process_count:
        raise InputError(
            f"The global batch size {batch_size} cannot be divided over {process_count} processes. "
            f"Choose a multiple of {process_count}."
        )
    if batch_size // process_count % rows:
        raise InputError(
            f"The global batch size {batch_size} is not made of whole groups of {rows} on "
            f"{process_count} processes. Choose a multiple of {rows * process_count}."
        )
    # Seeds are mixed first: Grain shuffles epoch e with seed + e, so epoch 1 of run 0
    # would be ordered like epoch 0 of run 1.
    shuffle_seed, augment_seed = (
        int(word) for word in np.random.SeedSequence(seed).generate_state(2)
    )
    dataset = (
        grain.MapDataset.source(source)
        .shuffle(seed=shuffle_seed)
        .repeat()
        .random_map(transform, seed=augment_seed)
    )
    share = _ProcessRows(
        dataset,
        batch_size=batch_size // rows,
        process_index=process_index,
        process_count=process_count,
    )
    batches = grain.MapDataset.source(share).batch(batch_size // rows // process_count)
    batches = (batches if rows == 1 else batches.map(_in_rows))[start_step:]
    # Grain's defaults read 500 elements ahead, which here are whole batches.
    stream = batches.to_iter_dataset(
        grain.ReadOptions(num_threads=_THREADS, prefetch_buffer_size=_THREADS)
    )
    if num_workers:
        if (
            not flags.FLAGS.is_parsed()
        ):  # in a notebook; Grain reads a flag of its own before it starts processes
            flags.FLAGS.mark_as_parsed()
        options = grain.MultiprocessingOptions(num_workers=num_workers, per_worker_buffer_size=2)
        stream = stream.mp_prefetch(options, worker_init_fn=_set_up_worker)
    return iter(stream)
