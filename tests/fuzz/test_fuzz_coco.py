"""COCO files: a dataset of the good photographs, with the bad ones listed, or a clear
error; no polygon or run-length code crashes.
"""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from mutations import damaged, fuzz, outcome, replaced
from preparation import POLICIES, prepared
from pycocotools import mask as coco_mask
from tiny_datasets import COCO_CATEGORIES, HEIGHT, WIDTH, box, jpeg, square_mask, write

from hfpl_jax.data.coco_file import Object
from hfpl_jax.data.coco_paint import draw, paint
from hfpl_jax.instance import decode_counts

RLE = coco_mask.encode(np.asfortranarray(square_mask(1) == 1, np.uint8))["counts"].decode()
COCO = {
    "images": [{"id": 1, "file_name": "000000000001.jpg", "height": HEIGHT, "width": WIDTH}],
    "annotations": [
        {"id": 1, "image_id": 1, "category_id": 1, "iscrowd": 0, "segmentation": box(0, 0, 9, 9)},
        {"id": 2, "image_id": 1, "category_id": 3, "iscrowd": 0,
         "segmentation": {"size": [HEIGHT, WIDTH], "counts": RLE}},
        {"id": 3, "image_id": 1, "category_id": 5, "iscrowd": 1,
         "segmentation": {"size": [HEIGHT, WIDTH], "counts": [300, 20, 280]}},
    ],
}  # fmt: skip


@pytest.fixture
def coco(places):
    """`coco(text)` prepares a COCO file of that text, beside a photograph."""
    source, output = places
    write(source / "train2017/000000000001.jpg", jpeg())

    def call(text, policy):
        write(source / "annotations/instances_train2017.json", text)
        return prepared("coco_seg", (source, output), policy)

    return call


@fuzz(100)
@given(replaced(COCO), POLICIES)
def test_damaged_coco(coco, content, policy):
    coco(
        json.dumps(
            content | {"categories": COCO_CATEGORIES} if isinstance(content, dict) else content
        ),
        policy,
    )


@fuzz(60)
@given(damaged(json.dumps(COCO | {"categories": COCO_CATEGORIES}).encode(), front=900), POLICIES)
def test_damaged_coco_text(coco, text, policy):
    coco(text, policy)


@fuzz(30)
@given(replaced(COCO_CATEGORIES[:3]))
def test_damaged_coco_categories(coco, first):
    content = COCO | {
        "categories": [*first, *COCO_CATEGORIES[3:]] if isinstance(first, list) else first
    }
    assert isinstance(coco(json.dumps(content), "skip"), str) or first == COCO_CATEGORIES[:3]


@pytest.mark.parametrize(
    "text",
    [
        b"[" * 200_000,
        b"\xff\xfe[\0]\0",
        b'{"images": "\xe9"}',
        b"null",
        b'{"images": [' + b"9" * 9999 + b"]}",
    ],
    ids=range(5),
)
def test_hostile_coco(coco, text):
    assert "is not a COCO instances file" in coco(text, "skip")


def painted(segmentation):
    described = [Object(0, segmentation, False, "annotation 7")]

    def call():
        instances = draw(described, HEIGHT, WIDTH, where="x.json")
        return paint(instances, HEIGHT, WIDTH, rule="largest_first")

    return outcome("x.json", call)


HOSTILE_SEGMENTATIONS = {
    "an infinite polygon": [[float("inf"), 1, 2, 3, 4, 5, 6, 7]],
    "a polygon of no numbers": [[float("nan")] * 8],
    "a polygon to the moon": [[0, 0, 1e9, 1, 2, 2e9, 6, 7]],
    "a zigzag": [[0, 0, 0, 1e4] * 1000],
    "points": [[[0, 0], [9, 0], [9, 9], [0, 9], [0, 5], [0, 4]]],
    "words": [["a"] * 8],
    "a word": "a polygon",
    "an integer beyond all floats": [[10**400] * 8],
    "a polygon of dicts": [[{}] * 8],
    "a number": 5,
    "an odd number of numbers": [[0, 0, 9, 0, 9, 9, 0]],
    "runs of another size": {"size": [3, 3], "counts": [9]},
    "a huge size": {"size": [2**31, 2**31], "counts": [2**62]},
    "too long runs": {"size": [HEIGHT, WIDTH], "counts": [0, 2**31]},
    "too short runs": {"size": [HEIGHT, WIDTH], "counts": [3, 5]},
    "negative runs": {"size": [HEIGHT, WIDTH], "counts": [-600, 1200]},
    "runs that overflow": {
        "size": [HEIGHT, WIDTH], "counts": [2**62, 2**62, 2**62, 2**62 + HEIGHT * WIDTH]
    },
    "runs beyond 64 bits": {"size": [HEIGHT, WIDTH], "counts": [2**64]},
    "runs of fractions": {"size": [HEIGHT, WIDTH], "counts": [300.5, 299.5]},
    "runs in lists": {"size": [HEIGHT, WIDTH], "counts": [[HEIGHT * WIDTH]]},
    "no runs": {"size": [HEIGHT, WIDTH], "counts": []},
    "no text": {"size": [HEIGHT, WIDTH], "counts": ""},
    "a text cut off": {"size": [HEIGHT, WIDTH], "counts": RLE[:-1] + "o"},
    "a text without end": {"size": [HEIGHT, WIDTH], "counts": "o" * 100},
    "a text of garbage": {"size": [HEIGHT, WIDTH], "counts": "zzzzzzzz"},
    "a text with a zero": {"size": [HEIGHT, WIDTH], "counts": RLE[:3] + "\0" + RLE[3:]},
    "a text of other letters": {"size": [HEIGHT, WIDTH], "counts": "é\ud800"},
    "a number for a text": {"size": [HEIGHT, WIDTH], "counts": 600},
    "no counts": {"size": [HEIGHT, WIDTH]},
    "no size": {"counts": RLE},
}  # fmt: skip


@pytest.mark.parametrize("case", HOSTILE_SEGMENTATIONS)
def test_hostile_segmentations(case):
    assert "of annotation 7 cannot be drawn" in painted(HOSTILE_SEGMENTATIONS[case])


@fuzz(100)
@given(damaged(RLE.encode()))
def test_damaged_run_lengths(text):
    result = painted({"size": [HEIGHT, WIDTH], "counts": text.decode("latin-1")})
    assert isinstance(result, str) or result.shape == (HEIGHT, WIDTH)


@fuzz(50)
@given(st.lists(st.booleans(), min_size=1, max_size=60), st.integers(1, 9))
def test_run_lengths_are_read_as_pycocotools_does(pixels, height):
    mask = np.resize(np.array(pixels, np.uint8), (height, 7 * len(pixels)))
    counts = decode_counts(coco_mask.encode(np.asfortranarray(mask))["counts"].decode())
    np.testing.assert_array_equal(
        np.repeat(np.arange(len(counts)) % 2, counts), mask.ravel(order="F")
    )
