import re
import xml.etree.ElementTree

import numpy as np

from hfpl_jax.report.curves import class_bars, loss_curves, running_mean, threshold_curves


def texts(svg):
    """The words of a figure, which matplotlib keeps as comments beside the glyphs."""
    xml.etree.ElementTree.fromstring(svg)
    return [text.strip() for text in re.findall("<!--(.*?)-->", svg)]


def test_loss_curves_show_every_quantity_and_skip_what_is_not_a_number():
    rows = [
        {"step": i, "loss": 1 / (i + 1), "fsl": float("nan") if i else 0.5, "note": "text"}
        for i in range(50)
    ]
    words = texts(loss_curves([*rows, {"val/miou": 0.5}]))
    assert "loss" in words
    assert "fsl" in words
    assert "note" not in words
    assert "val/miou" not in words


def test_nothing_to_draw():
    assert loss_curves([]) is None
    assert loss_curves([{"step": 3}]) is None
    assert threshold_curves({}, 0.3) is None
    assert class_bars({}) is None
    assert class_bars({"train": {}}) is None


def test_threshold_is_marked():
    curves = {
        "train": (np.arange(100) / 100, np.linspace(0.2, 0.5, 100)),
        "val": (np.arange(100) / 100, np.linspace(0.1, 0.4, 100)),
    }
    words = texts(threshold_curves(curves, 0.37))
    assert {"train", "val", "chosen: 0.37"} <= set(words)
    assert not any("chosen" in word for word in texts(threshold_curves(curves, None)))


def test_bars_of_each_class():
    words = texts(class_bars({"train": {"background": 0.9, "cat": 0.414}, "val": {"cat": 0.3}}))
    assert {"background", "cat", "train", "val", "90", "41", "30", "-"} <= set(words)


def test_figures_are_the_same_bytes_every_time():
    figures = [class_bars({"train": {f"class {i}": i / 81 for i in range(81)}}) for _ in range(2)]
    assert figures[0] == figures[1]


def test_running_mean():
    values = np.random.default_rng(0).random(200)
    expected = [values[max(0, i - 5) : i + 6].mean() for i in range(200)]
    np.testing.assert_allclose(running_mean(values), expected)
    np.testing.assert_allclose(running_mean(values[:3]), values[:3])
