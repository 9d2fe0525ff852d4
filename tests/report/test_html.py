import base64
import html.parser
import io
import re

import numpy as np
import pytest
from PIL import Image

from hfpl_jax.errors import InputError
from hfpl_jax.report import Picture, Tile, write_report
from hfpl_jax.report.grid import grid_png
from hfpl_jax.report.rows import PANEL_BOX
from hfpl_jax.report.tiles import panels

NAMES = ("cat", "dog & <fox>")


@pytest.fixture
def content():
    labels = np.zeros((20, 30), np.uint8)
    labels[5:10, 5:20], labels[15:, :] = 2, 255
    photo = np.linspace(0, 255, 20 * 30 * 3).reshape(20, 30, 3).astype(np.uint8)
    cam = np.linspace(0, 1, 600, dtype=np.float32).reshape(20, 30)
    maps = {"truth": labels, "CAM": cam, "pseudo-label": labels}
    both = [
        Tile("a&b.jpg", photo, maps, NAMES),
        Tile("c.jpg", photo, {**maps, "truth": None}, ("cat",)),
    ]
    network = Tile("d.jpg", photo, {"truth": labels, "final network": labels.copy()}, ("cat",))
    return {
        "title": "A <run>",
        "notices": ["The threshold is 0.00 & <low>.", "Another one."],
        "class_names": NAMES,
        "facts": {"threshold": "0.31, chosen on train", "image labels": "given & used"},
        "history": [{"step": i, "loss": 1.0 / (i + 1), "gap": 0.5} for i in range(30)],
        "curves": {"train": (np.arange(100) / 100, np.linspace(0, 0.5, 100))},
        "threshold": 0.31,
        "per_class": {"train": {"background": 0.9, "cat": 0.5}},
        "pictures": [
            Picture("grid.png", "Pseudo-labels of <train>", both),
            Picture("predictions.png", "Final network on val", [network]),
        ],
        "metrics": {
            "train/cam/miou": 0.4567,
            "train/cam/miou_all_background": 0.1875,
            "train/cam/contour_f": 0.25,
            "train/cam/iou/dog & <fox>": 0.125,
            "train/threshold": 0.31,
            "val/instances/map_50": 0.321,
            "val/instances/pointing": 0.654,
            "val/instances/ap_75/cat": 0.087,
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
    images = [address for address in checker.addresses if address.startswith("data:")]
    assert len(images) == 2 * 4 - 1 + 3  # one truth is missing
    text = "".join(checker.text)
    expected = [
        "A <run>",
        "The threshold is 0.00 & <low>.",
        "0.31, chosen on train",
        "given & used",
        "Pseudo-labels of <train>",
        "a&b.jpg",
        "dog & <fox>",
        "no mask",
        "45.7 %",
        "mIoU if everything were background18.8 %",
        "25.0 %",
        "12.5 %",
        "mAP at IoU 0.50--32.1 %",
        "pointing accuracy--65.4 %",
        "8.7 %",
    ]
    assert [each for each in expected if each not in text] == []
    for picture in content["pictures"]:
        with Image.open(tmp_path / "new" / picture.file_name) as written:
            expected = Image.open(io.BytesIO(grid_png(picture.tiles, class_names=NAMES)))
            np.testing.assert_array_equal(np.asarray(written), np.asarray(expected))


def test_notices_stand_above_everything_else(tmp_path, content):
    page = write_report(tmp_path, **content).read_text()
    notices = page.index('<section class="notices" role="alert">')
    assert page.index("<h1>") < notices < page.index('<div class="cards">')
    assert page[notices:].split("</section>")[0].count("<p>") == 2


def test_a_section_of_the_page_holds_the_panels_of_its_picture(tmp_path, content):
    page = write_report(tmp_path, **content).read_text()
    sections = page.split("<section><h2>")[1:]
    headings = [section.split("</h2>")[0] for section in sections]
    assert headings[:2] == ["Pseudo-labels of &lt;train&gt;", "Final network on val"]
    orders = re.findall(r"From left to right: (.*?)\.</p>", page)
    assert orders == ["photograph, truth, CAM, pseudo-label", "photograph, truth, final network"]
    for picture, section in zip(content["pictures"], sections, strict=False):
        shown = re.findall(r'title="([^"]*)" src="data:image/jpeg;base64,([^"]*)"', section)
        expected = [
            (name, panel)
            for tile in picture.tiles
            for name, panel in zip(tile.columns, panels(tile, PANEL_BOX), strict=True)
            if panel
        ]
        assert [name for name, _ in shown] == [name for name, _ in expected]
        for (_, data), (_, panel) in zip(shown, expected, strict=True):
            pixels = np.asarray(Image.open(io.BytesIO(base64.b64decode(data))), np.float32)
            assert pixels.shape == (panel.height, panel.width, 3)
            assert np.abs(pixels - np.asarray(panel, np.float32)).mean() < 4  # JPEG
    captions = re.findall(r"<figcaption>(.*?) <span>(.*?)</span>", page)
    assert captions == [
        ("a&amp;b.jpg", "cat, dog &amp; &lt;fox&gt;"),
        ("c.jpg", "cat"),
        ("d.jpg", "cat"),
    ]


def test_parts_without_content_are_left_out(tmp_path, content):
    empty = {
        "notices": [],
        "facts": {},
        "history": [],
        "curves": {},
        "threshold": None,
        "per_class": {},
        "pictures": [],
        "metrics": {},
    }
    page = write_report(tmp_path, **(content | empty)).read_text()
    Checker(page)
    assert "<h1>" in page
    assert "<h2>" not in page
    assert "<section" not in page
    assert not list(tmp_path.glob("*.png"))


def test_the_same_report_twice_is_the_same_file(tmp_path, content):
    first, second = (write_report(tmp_path / name, **content).read_bytes() for name in "ab")
    assert first == second


def test_place_that_cannot_be_written(tmp_path, content):
    (tmp_path / "report.html").mkdir()
    with pytest.raises(InputError, match=r"Cannot write .*report\.html"):
        write_report(tmp_path, **content)
