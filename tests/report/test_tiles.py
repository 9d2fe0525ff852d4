import numpy as np
import pytest

from hfpl_jax.errors import InputError
from hfpl_jax.instance import Instance, encode_rle
from hfpl_jax.masks import voc_palette
from hfpl_jax.report.instances import Things, overlay_instances
from hfpl_jax.report.tiles import WHITISH, Tile, legend, overlay_cam, overlay_labels, panels


def test_labels_take_their_colours():
    image = np.full((9, 9, 3), 100, np.uint8)
    labels = np.zeros((9, 9), np.uint8)
    labels[:, 3:6], labels[:, 6:] = 1, 255
    out = overlay_labels(image, labels).astype(int)
    np.testing.assert_array_equal(
        out[4, 4], np.round(0.4 * 100 + 0.6 * voc_palette()[1].astype(float))
    )
    assert np.ptp(out[4, 0]) == 0  # the background keeps the photograph's hue, faded
    assert out[4, 0, 0] > 100
    assert np.abs(out[4, 7] - WHITISH).max() < 30
    assert out[4, 3].sum() > out[4, 4].sum()  # the outline is brighter


def test_cam_goes_from_dark_to_bright_and_is_clipped():
    image = np.full((1, 5, 3), 100, np.uint8)
    out = overlay_cam(image, np.array([[-1, 0, 0.5, 1, 2]], np.float32)).astype(int).sum(axis=-1)[0]
    assert out[0] == out[1] < out[2] < out[3] == out[4]


@pytest.mark.parametrize(
    ("shape", "size"),
    [((60, 80), (200, 150)), ((100, 50), (75, 150)), ((10, 100), (200, 20)), ((1, 1), (150, 150))],
)
def test_panels_fill_the_box(shape, size):
    zeros = np.zeros(shape, np.uint8)
    maps = {"truth": zeros, "CAM": zeros.astype(np.float32), "CRF": zeros, "pseudo-label": zeros}
    tile = Tile("a.jpg", np.zeros((*shape, 3), np.uint8), maps, ())
    assert [panel.size for panel in panels(tile, (200, 150))] == [size] * 5


def test_panels_are_the_photograph_and_its_maps_in_their_order():
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (30, 40, 3)).astype(np.uint8)
    first, second = (rng.integers(0, 3, (30, 40)).astype(np.uint8) for _ in range(2))
    cam = rng.random((30, 40)).astype(np.float32)
    tile = Tile("a.jpg", image, {"one": first, "truth": None, "heat": cam, "two": second}, ())
    assert tile.columns == ("photograph", "one", "truth", "heat", "two")
    photo, one, truth, heat, two = panels(tile, (40, 30))
    np.testing.assert_array_equal(np.asarray(photo), image)
    np.testing.assert_array_equal(np.asarray(one), overlay_labels(image, first))
    assert truth is None
    np.testing.assert_array_equal(np.asarray(heat), overlay_cam(image, cam))
    np.testing.assert_array_equal(np.asarray(two), overlay_labels(image, second))


def test_the_legend_has_the_classes_of_all_label_maps():
    image, cam = np.zeros((1, 3, 3), np.uint8), np.ones((1, 3), np.float32)
    one = {"truth": np.array([[0, 7, 255]], np.uint8), "CAM": cam}
    first = Tile("a", image, {**one, "mask": np.array([[2, 2, 255]], np.uint8)}, ())
    other = {"truth": None, "CAM": cam, "mask": np.array([[2, 0, 3]], np.uint8)}
    shown = legend([first, Tile("b", image, other, ())], "abcdefg")
    palette = voc_palette().tolist()
    assert shown == [
        *((name, tuple(palette[label])) for label, name in ((2, "b"), (3, "c"), (7, "g"))),
        ("ignored", WHITISH),
    ]


def test_instances_are_painted_at_the_size_of_their_panel_and_need_no_legend():
    image = np.full((6, 8, 3), 100, np.uint8)
    region = np.zeros((6, 8), bool)
    region[2:4, 4:] = True
    things = Things.of([Instance(1, encode_rle(region), score=0.5, peak=(2, 7))], 6, 8, "ab")
    tile = Tile("a", image, {"instances": things, "truth": None}, ())
    photo, found, truth = panels(tile, (160, 160))
    assert truth is None
    enlarged = np.kron(region, np.ones((20, 20), bool))
    drawn = overlay_instances(np.asarray(photo), enlarged[None], ["b 0.50"], [(50, 150)])
    np.testing.assert_array_equal(np.asarray(found), drawn)
    assert legend([tile], "ab") == []


@pytest.mark.parametrize("which", ["truth", "CAM", "instances", "final network"])
def test_a_map_of_another_size_is_refused(which):
    shapes = dict.fromkeys(("truth", "CAM", "instances", "final network"), (3, 4))
    shapes[which] = (4, 3)
    maps = {name: np.zeros(shape, np.uint8) for name, shape in shapes.items()}
    maps["CAM"] = maps["CAM"].astype(np.float32)
    maps["instances"] = Things.of([], *shapes["instances"], "ab")
    with pytest.raises(
        InputError,
        match=rf"The {which} of a\.jpg has the shape \(4, 3\), but the photograph is 3 pixels high "
        "and 4 wide: one of them belongs to another photograph. Delete the folders cams, labels ",
    ):
        Tile("a.jpg", np.zeros((3, 4, 3), np.uint8), maps, ())
