"""What stands for a dataset that is not read."""

import jax
import numpy as np
import pytest

from hfpl_jax.data.batches import TrainCrop
from hfpl_jax.data.sources import Source, batch_shapes, joint_stream
from hfpl_jax.recipe import load_recipe
from hfpl_jax.topology.unread import Unread


def unread(recipe):
    return Unread.of(load_recipe(recipe).data)


@pytest.mark.parametrize(
    ("recipe", "classes", "side", "split", "photographs"),
    [
        ("configs/cam.py:data=voc", 20, 500, "trainaug", 10582),
        ("configs/cam.py:data=coco", 80, 640, "train", 118287),
        ("configs/cam.py:data=scenes", 8, 144, "val", 100),
        ("configs/cam.py:data=folder", 20, 512, "train", 1000),
    ],
)
def test_what_is_known_of_a_dataset(recipe, classes, side, split, photographs):
    found = unread(recipe)
    assert len(found.class_names) == classes
    assert len(found.split(split)) == photographs
    example = found.split(split)[photographs - 1]
    assert example.pixels().shape == (side, side, 3)
    assert example.labels.tolist() == [(photographs - 1) % classes]


def test_what_nobody_knows_is_called_a_guess():
    assert "guess" in unread("configs/cam.py:data=folder").said(["train"])
    voc = unread("configs/cam.py:data=voc")
    assert voc.said(["trainaug", "val"]) == (
        "No photograph is read: 20 classes, photographs of at most 500x500 pixels, trainaug "
        "10,582, val 1,449 of them."
    )
    assert "guess" in voc.said(["trainaug", "mine"])


def test_the_shapes_of_a_batch_are_those_that_the_stream_makes():
    split = unread("configs/cam.py:data=scenes").split("train")
    first = Source(split, TrainCrop(8, 32, (32, 48)), 8, "")
    other = Source(split, TrainCrop(8, 16, (32, 48)), 4, "")
    stream = joint_stream(first, {"other": other}, seed=0)
    made = jax.tree.map(lambda array: (np.shape(array), array.dtype), next(stream))
    stream.close()
    shapes = batch_shapes(first, {"other": other})
    assert jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), shapes) == made
