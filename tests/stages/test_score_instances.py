import logging

import numpy as np
import pytest

from hfpl_jax.data.example import Example
from hfpl_jax.errors import InputError
from hfpl_jax.instance import Instance, encode_rle
from hfpl_jax.stages.score_instances import score_instances


def box(rows, columns, label=0, height=8, width=10, **fields):
    region = np.zeros((height, width), bool)
    region[rows, columns] = True
    return Instance(label, encode_rle(region), **fields)


def pair(name, true, found):
    example = Example(name, b"", np.array([0]), None, 8, 10, true)
    return {"file_name": name, "instances": [one.encode() for one in found]}, example


LEFT, RIGHT = box(slice(0, 8), slice(0, 4)), box(slice(0, 8), slice(5, 10), 1)


def test_figures_of_all_photographs_together(caplog):
    """A wrong one that is surer than the right one of another photograph; those of a
    photograph whose true instances nobody knows do not count.
    """
    right = box(slice(0, 8), slice(0, 3), score=0.5, peak=(7, 3))  # IoU 3/4
    wrong = box(0, 9, score=0.9, peak=(0, 9))
    pairs = [
        pair("a.jpg", (LEFT, RIGHT), [right]),
        pair("b.jpg", (), [wrong]),
        pair("c.jpg", None, [wrong, wrong]),
    ]
    with caplog.at_level(logging.INFO):
        figures = score_instances(pairs, ("cat", "dog"), "val/instances")
    assert figures == pytest.approx(
        {
            **{f"val/instances/map_{iou}": 0.25 for iou in (25, 50, 75)},
            **{f"val/instances/ap_{iou}/cat": 0.5 for iou in (25, 50, 75)},
            **{f"val/instances/ap_{iou}/dog": 0.0 for iou in (25, 50, 75)},
            "val/instances/pointing": 0.5,
            "val/instances/pointing/cat": 0.5,
        }
    )
    assert caplog.messages[0].splitlines()[1].split() == ["cat", "50.0", "50.0", "50.0", "50.0"]


def test_without_true_instances_nothing_is_scored():
    found = box(0, 0, score=0.5, peak=(0, 0))
    assert score_instances([pair("a.jpg", None, [found])], ("cat",), "val/instances") == {}
    assert score_instances([pair("a.jpg", (), [])], ("cat",), "val/instances") == {}


FOUND = box(0, 0, score=0.5, peak=(0, 0))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (
            {"segmentation": encode_rle(np.zeros((10, 8), bool))},
            r"a mask has the size \[10, 8\], the photograph \[8, 10\]",
        ),
        ({"segmentation": {"size": [8, 10], "counts": "9"}}, "not the 80 pixels"),
        ({"segmentation": {"size": [8, 10]}}, "counts"),
        ({"peak": [8, 0]}, r"the peak is \(8, 0\), not in the photograph"),
        ({"peak": [0, -1]}, "not in the photograph"),
        ({"peak": None}, "the peak is None"),
        ({"peak": [0]}, "unpack"),
        ({"label": 1}, "the label is 1, but there are 1 classes"),
        ({"label": -1}, "the label is -1"),
        ({"score": None}, "no score"),
        ({"score": float("nan")}, "the score of an instance is nan"),
        ({"score": "x"}, "must be real number"),
    ],
)
def test_instances_that_were_not_found_there_are_refused(change, reason):
    record, example = pair("a.jpg", (LEFT,), [])
    for instances in ([{**FOUND.encode(), **change}], [FOUND.encode(), FOUND.encode() | change]):
        with pytest.raises(
            InputError,
            match=rf"The record of the instances of a\.jpg is damaged or of another photograph "
            rf"\(.*{reason}.*\)\. Delete the folder instances",
        ):
            score_instances([({**record, "instances": instances}, example)], ("cat",), "x")


def test_a_record_without_instances_is_refused():
    _, example = pair("a.jpg", (LEFT,), [])
    for record in ({}, {"instances": None}, {"instances": [5]}):
        with pytest.raises(InputError, match=r"of a\.jpg is damaged"):
            score_instances([(record, example)], ("cat",), "x")


def test_true_instances_that_are_damaged_are_named():
    damaged = Instance(0, {"size": [8, 10], "counts": "9"})
    with pytest.raises(
        InputError, match=r"true instances of a\.jpg are damaged .*not the 80 pixels.*Delete the"
    ):
        score_instances([pair("a.jpg", (LEFT, damaged), [])], ("cat",), "x")
