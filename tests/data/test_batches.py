import io
import itertools
import os
import pathlib
import subprocess
import sys
import time

import numpy as np
import pytest
from PIL import Image

from hfpl_jax.data.batches import TrainCrop, batch_stream, multi_hot
from hfpl_jax.data.dataset import Example
from hfpl_jax.errors import InputError
from hfpl_jax.runtime.workdir_lock import _start_of

CLASSES = 4


class MemorySplit:
    """Small photographs, each of its own colour, held as PNG bytes."""

    def __init__(self, size=10, broken=None):
        self.examples = []
        for index in range(size):
            height, width = 20 + index, 30 - index
            image = np.full((height, width, 3), 20 * index + 10, np.uint8)
            image[: height // 2, : width // 2] = 255
            buffer = io.BytesIO()
            Image.fromarray(image).save(buffer, "PNG")
            data = buffer.getvalue()[:60] if index == broken else buffer.getvalue()
            labels = np.array([index % CLASSES], np.int64)
            self.examples.append(Example(f"{index}.png", data, labels, None, height, width))

    def __len__(self):
        return len(self.examples)

    def __getitem__(self, index):
        return self.examples[index]


def batches(
    count,
    size=10,
    *,
    num_classes=CLASSES,
    crop_size=24,
    resize_long=(20, 36),
    jitter=True,
    **options,
):
    transform = TrainCrop(num_classes, crop_size, resize_long, jitter)
    stream = batch_stream(MemorySplit(size), transform, **({"batch_size": 4, "seed": 1} | options))
    result = list(itertools.islice(stream, count))
    stream.close()
    return result


def assert_equal(left, right):
    assert len(left) == len(right)
    for a, b in zip(left, right, strict=True):
        assert a.keys() == b.keys()
        for name in a:
            np.testing.assert_array_equal(a[name], b[name], err_msg=name)


def test_shapes_and_types():
    (batch,) = batches(1)
    assert {name: (array.shape, array.dtype) for name, array in batch.items()} == {
        "image": ((4, 24, 24, 3), np.uint8),
        "valid": ((4, 24, 24), bool),
        "labels": ((4, CLASSES), np.float32),
    }
    assert (batch["image"][~batch["valid"]] == 0).all()
    assert (batch["labels"].sum(axis=1) == 1).all()


def colors(batch):
    """The background colour tells which photograph a crop is from, as long as colours
    are not jittered.
    """
    return [
        int(np.median(image[valid & (image[..., 0] < 250)])) // 20
        for image, valid in zip(batch["image"], batch["valid"], strict=True)
    ]


def test_an_epoch_has_every_image_once_and_epochs_differ():
    seen = [
        color
        for batch in batches(5, size=10, batch_size=2, jitter=False)
        for color in colors(batch)
    ]
    again = [
        color
        for batch in batches(10, size=10, batch_size=2, jitter=False)[5:]
        for color in colors(batch)
    ]
    assert sorted(seen) == sorted(again) == list(range(10))
    assert seen != again


def test_labels_go_with_their_image():
    for batch in batches(5, jitter=False):
        assert [int(label) for label in batch["labels"].argmax(axis=1)] == [
            color % CLASSES for color in colors(batch)
        ]


def test_a_batch_may_have_one_row():
    seen = [color for batch in batches(10, batch_size=1, jitter=False) for color in colors(batch)]
    assert sorted(seen) == list(range(10))


def test_a_split_smaller_than_a_batch_is_repeated():
    (batch,) = batches(1, size=3, batch_size=8)
    assert batch["image"].shape[0] == 8


@pytest.mark.parametrize("processes", [2, 4])
def test_global_batches_do_not_depend_on_the_number_of_processes(processes):
    whole = batches(4)
    parts = [batches(4, process_index=index, process_count=processes) for index in range(processes)]
    for step, expected in enumerate(whole):
        for name, array in expected.items():
            joined = np.concatenate([part[step][name] for part in parts])
            np.testing.assert_array_equal(joined, array)


@pytest.mark.parametrize("start_step", [1, 3, 7])
def test_resuming_equals_the_undisturbed_stream(start_step):
    assert_equal(batches(9)[start_step:], batches(9 - start_step, start_step=start_step))


def test_the_same_seed_repeats_and_another_differs():
    assert_equal(batches(2), batches(2))
    assert not np.array_equal(batches(1)[0]["image"], batches(1, seed=2)[0]["image"])


def test_neighbouring_seeds_do_not_share_shifted_orders():
    # Grain alone would order epoch 1 of seed s like epoch 0 of seed s + 1.
    second_epoch = [colors(batch) for batch in batches(10, batch_size=2, jitter=False)[5:]]
    other_seed = [colors(batch) for batch in batches(5, batch_size=2, jitter=False, seed=2)]
    assert second_epoch != other_seed


@pytest.mark.slow
def test_worker_processes_give_the_same_batches():
    assert_equal(batches(6, start_step=2), batches(6, start_step=2, num_workers=2))


WORKING = """
import multiprocessing, os, signal
from test_batches import MemorySplit
from hfpl_jax.data.batches import TrainCrop, batch_stream

if __name__ == "__main__":
    transform = TrainCrop(4, 16, (16, 32))
    stream = batch_stream(MemorySplit(), transform, batch_size=4, seed=3, num_workers=1)
    next(stream)
    print(*(child.pid for child in multiprocessing.active_children()), flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.slow
def test_workers_end_with_a_command_that_is_killed(tmp_path):
    (tmp_path / "working.py").write_text(WORKING)
    here = pathlib.Path(__file__).parent
    places = os.pathsep.join(map(str, (here, here.parents[1])))
    killed = subprocess.run(
        [sys.executable, tmp_path / "working.py"],
        env=os.environ | {"PYTHONPATH": places},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert killed.returncode == -9
    [worker] = map(int, killed.stdout.split())
    deadline = time.monotonic() + 30
    while _start_of(worker) not in ("ended", ""):
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"batch_size": 6, "process_count": 4},
            "batch size 6 cannot be divided over 4 processes.*multiple of 4",
        ),
        ({"batch_size": 0}, "batch size 0"),
        ({"resize_long": (40, 20)}, r"\(40, 20\).*smaller one first"),
        ({"resize_long": (0, 20)}, r"\(0, 20\)"),
        ({"crop_size": 0}, "crop size is 0"),
        ({"size": 0}, "no images"),
    ],
)
def test_unusable_options(options, message):
    with pytest.raises(InputError, match=message):
        batches(1, **options)


def test_a_label_outside_the_classes_names_the_file():
    with pytest.raises(
        InputError, match=r"3.png has the labels \[3\], but the model has 3 classes"
    ):
        batches(5, num_classes=3)


def test_a_broken_image_names_the_file():
    stream = batch_stream(
        MemorySplit(5, broken=2), TrainCrop(CLASSES, 8, (8, 8)), batch_size=5, seed=0
    )
    with pytest.raises(InputError, match=r"2\.png"):
        next(stream)


def test_multi_hot():
    np.testing.assert_array_equal(
        multi_hot(np.array([0, 2]), 4, "a.jpg"), np.array([1, 0, 1, 0], np.float32)
    )
    np.testing.assert_array_equal(
        multi_hot(np.array([], np.int64), 2, "a.jpg"), np.zeros(2, np.float32)
    )
    with pytest.raises(InputError, match=r"a\.jpg"):
        multi_hot(np.array([-1]), 4, "a.jpg")
