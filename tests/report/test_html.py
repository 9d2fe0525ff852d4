import html.parser
import re

import numpy as np
import pytest
from PIL import Image

from hfpl_jax.errors import InputError
from hfpl_jax.report import Tile, write_report

NAMES = ("cat", "dog & <fox>")


@pytest.fixture
def content():
    labels = np.zeros((20, 30), np.uint8)
    labels[5:10, 5:20], labels[15:, :] = 2, 255
    photo = np.random.default_rng(0).integers(0, 256, (20, 30, 3)).astype(np.uint8)
    cam = np.linspace(0, 1, 600, dtype=np.float32).reshape(20, 30)
    return {
        "title": "A <run>",
        "class_names": NAMES,
        "facts": {"threshold": "0.31, chosen on train", "image labels": "given & used"},
        "history": [{"step": i, "loss": 1.0 / (i + 1), "gap": 0.5} for i in range(30)],
        "curves": {"train": (np.arange(60) / 100, np.linspace(0, 0.5, 60))},
        "threshold": 0.31,
        "per_class": {"train": {"background": 0.9, "cat": 0.5}},
        "tiles": [
            Tile("a&b.jpg", photo, labels, cam, labels, NAMES),
            Tile("c.jpg", photo, None, cam, labels, ("cat",)),
        ],
        "metrics": {
            "train/cam/miou": 0.4567,
            "train/cam/contour_f": 0.25,
            "train/cam/iou/dog & <fox>": 0.125,
            "train/threshold": 0.31,
        },
    }


class Checker(html.parser.HTMLParser):
    """Collects the text and the addresses, and checks that tags are closed in order."""

    VOID = frozenset({"meta", "img", "br"})

    def __init__(self, page):
        super().__init__()
        self.open, self.text, self.addresses = [], [], []
        self.feed(page)
        assert not self.open

    def handle_starttag(self, tag, attrs):
        if tag not in self.VOID:
            self.open.append(tag)
        self.addresses += [value for name, value in attrs if name in ("src", "href", "xlink:href")]

    def handle_startendtag(self, tag, attrs):
        self.addresses += [value for name, value in attrs if name in ("src", "href", "xlink:href")]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


def test_one_self_contained_page(tmp_path, content):
    path = write_report(tmp_path / "new", **content)
    assert path == tmp_path / "new" / "report.html"
    page = path.read_text()
    checker = Checker(page)
    assert checker.addresses
    assert all(address.startswith(("data:image/", "#")) for address in checker.addresses)
    assert not re.search(r"url\((?!#)|@import|<script|<link", page)
    assert (
        sum(address.startswith("data:") for address in checker.addresses) == 7
    )  # one truth is missing
    text = "".join(checker.text)
    expected = [
        "A <run>",
        "0.31, chosen on train",
        "given & used",
        "a&b.jpg",
        "dog & <fox>",
        "no mask",
        "45.7 %",
        "25.0 %",
        "12.5 %",
    ]
    assert [each for each in expected if each not in text] == []
    assert Image.open(tmp_path / "new" / "grid.png").width > 900


def test_parts_without_content_are_left_out(tmp_path, content):
    empty = {
        "facts": {},
        "history": [],
        "curves": {},
        "threshold": None,
        "per_class": {},
        "tiles": [],
        "metrics": {},
    }
    page = write_report(tmp_path, **(content | empty)).read_text()
    Checker(page)
    assert "<h1>" in page
    assert "<h2>" not in page
    assert not (tmp_path / "grid.png").exists()


def test_the_same_report_twice_is_the_same_file(tmp_path, content):
    first, second = (write_report(tmp_path / name, **content).read_bytes() for name in "ab")
    assert first == second


def test_place_that_cannot_be_written(tmp_path, content):
    (tmp_path / "report.html").mkdir()
    with pytest.raises(InputError, match=r"Cannot write .*report\.html"):
        write_report(tmp_path, **content)
