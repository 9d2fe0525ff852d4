import base64
import html.parser
import io
import re

import numpy as np
import pytest
from PIL import Image

from hfpl_jax.errors import InputError
from hfpl_jax.report import Tile, write_report
from hfpl_jax.report.grid import grid_png
from hfpl_jax.report.html import PANEL_BOX
from hfpl_jax.report.tiles import panels

NAMES = ("cat", "dog & <fox>")


@pytest.fixture
def content():
    labels = np.zeros((20, 30), np.uint8)
    labels[5:10, 5:20], labels[15:, :] = 2, 255
    photo = np.linspace(0, 255, 20 * 30 * 3).reshape(20, 30, 3).astype(np.uint8)
    cam = np.linspace(0, 1, 600, dtype=np.float32).reshape(20, 30)
    return {
        "title": "A <run>",
        "notices": ["The threshold is 0.00 & <low>.", "Another one."],
        "class_names": NAMES,
        "facts": {"threshold": "0.31, chosen on train", "image labels": "given & used"},
        "history": [{"step": i, "loss": 1.0 / (i + 1), "gap": 0.5} for i in range(30)],
        "curves": {"train": (np.arange(100) / 100, np.linspace(0, 0.5, 100))},
        "threshold": 0.31,
        "per_class": {"train": {"background": 0.9, "cat": 0.5}},
        "tiles": [
            Tile("a&b.jpg", photo, labels, cam, labels, NAMES),
            Tile("c.jpg", photo, None, cam, labels, ("cat",)),
        ],
        "metrics": {
            "train/cam/miou": 0.4567,
            "train/cam/miou_all_background": 0.1875,
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
        "The threshold is 0.00 & <low>.",
        "0.31, chosen on train",
        "given & used",
        "a&b.jpg",
        "dog & <fox>",
        "no mask",
        "45.7 %",
        "mIoU if everything were background18.8 %",
        "25.0 %",
        "12.5 %",
    ]
    assert [each for each in expected if each not in text] == []
    with Image.open(tmp_path / "new" / "grid.png") as picture:
        expected = Image.open(io.BytesIO(grid_png(content["tiles"], class_names=NAMES)))
        np.testing.assert_array_equal(np.asarray(picture), np.asarray(expected))


def test_notices_stand_above_everything_else(tmp_path, content):
    page = write_report(tmp_path, **content).read_text()
    notices = page.index('<section class="notices" role="alert">')
    assert page.index("<h1>") < notices < page.index('<div class="cards">')
    assert page[notices:].split("</section>")[0].count("<p>") == 2


def test_pictures_of_the_page_are_the_panels_of_the_tiles(tmp_path, content):
    page = write_report(tmp_path, **content).read_text()
    shown = [
        np.asarray(Image.open(io.BytesIO(base64.b64decode(data))), np.float32)
        for data in re.findall(r'src="data:image/jpeg;base64,([^"]*)"', page)
    ]
    expected = [panel for tile in content["tiles"] for panel in panels(tile, PANEL_BOX) if panel]
    assert len(shown) == len(expected) == 7
    for picture, panel in zip(shown, expected, strict=True):
        assert picture.shape == (panel.height, panel.width, 3)
        assert np.abs(picture - np.asarray(panel, np.float32)).mean() < 4  # JPEG
    captions = re.findall(r"<figcaption>(.*?) <span>(.*?)</span>", page)
    assert captions == [("a&amp;b.jpg", "cat, dog &amp; &lt;fox&gt;"), ("c.jpg", "cat")]


def test_parts_without_content_are_left_out(tmp_path, content):
    empty = {
        "notices": [],
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
    assert "<section" not in page
    assert not (tmp_path / "grid.png").exists()


def test_the_same_report_twice_is_the_same_file(tmp_path, content):
    first, second = (write_report(tmp_path / name, **content).read_bytes() for name in "ab")
    assert first == second


def test_place_that_cannot_be_written(tmp_path, content):
    (tmp_path / "report.html").mkdir()
    with pytest.raises(InputError, match=r"Cannot write .*report\.html"):
        write_report(tmp_path, **content)
