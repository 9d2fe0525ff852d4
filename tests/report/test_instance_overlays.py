import itertools

import numpy as np
import pytest

from hfpl_jax.instance import Instance, encode_rle
from hfpl_jax.report.instances import Things, colour_of, overlay_instances, rim

IMAGE = np.random.default_rng(0).integers(0, 256, (200, 300, 3)).astype(np.uint8)


def box(top, bottom, left, right):
    region = np.zeros(IMAGE.shape[:2], bool)
    region[top:bottom, left:right] = True
    return region


LARGE, SMALL = box(20, 180, 20, 280), box(100, 160, 200, 260)


def mixed(number, place):
    return np.round(0.5 * IMAGE[place] + 0.5 * np.array(colour_of(number), float))


def test_each_has_its_own_colour_and_small_ones_lie_on_large_ones():
    """Whichever comes first; what is in none is faded."""
    for regions in ([LARGE, SMALL], [SMALL, LARGE]):
        out = overlay_instances(IMAGE, np.stack(regions), ("", ""), (None, None))
        large = 0 if regions[0] is LARGE else 1
        for number, place in ((large, (150, 60)), (1 - large, (140, 230))):
            np.testing.assert_array_equal(out[place], mixed(number, place))
            np.testing.assert_array_equal(
                out[159 if number != large else 179, 230], colour_of(number)
            )
        faded = 0.45 * IMAGE[5, 5] + 0.25 * IMAGE[5, 5].mean() + 0.3 * 255
        np.testing.assert_array_equal(out[5, 5], np.round(faded))


def test_twenty_colours_differ():
    colours = [np.array(colour_of(number)) for number in range(20)]
    assert min(np.abs(a - b).max() for a, b in itertools.combinations(colours, 2)) > 20


def test_a_dot_at_the_peak_and_nowhere_else():
    for regions in (np.stack([LARGE]), np.zeros((1, 200, 300), bool)):  # one may be empty
        plain = overlay_instances(IMAGE, regions, ("",), (None,)).astype(int)
        dotted = overlay_instances(IMAGE, regions, ("",), ((150, 60),))
        np.testing.assert_array_equal(dotted[150, 60], colour_of(0))
        assert (dotted[150, 62] == 255).all()
        rows, columns = np.nonzero(np.abs(dotted - plain).any(axis=-1))
        assert (rows.min(), rows.max(), columns.min(), columns.max()) == (146, 154, 56, 64)


def changed_by(regions, captions):
    """Where the captions stand."""
    none = (None,) * len(captions)
    plain = overlay_instances(IMAGE, np.stack(regions), ("",) * len(captions), none).astype(int)
    named = overlay_instances(IMAGE, np.stack(regions), captions, none)
    changed = np.abs(named - plain).any(axis=-1)
    assert (named[changed] > 180).all(axis=-1).sum() > 20  # letters
    return changed


@pytest.mark.parametrize(
    ("region", "inside"),
    [
        (LARGE, box(20, 45, 80, 220)),
        (box(100, 110, 100, 200), box(80, 101, 80, 220)),  # above what it would hide
        (box(0, 10, 100, 200), box(0, 30, 80, 220)),
        (box(0, 200, 290, 300), box(0, 25, 150, 300)),
        (box(190, 200, 0, 10), box(170, 200, 0, 150)),
    ],
)
def test_the_caption_stands_at_its_region_inside_the_photograph(region, inside):
    changed = changed_by([region], ("traffic light",))
    assert changed.sum() > 300
    assert not (changed & ~inside).any()


def test_captions_do_not_hide_each_other():
    alone = changed_by([LARGE], ("traffic light",)).sum()
    for count in (2, 5):
        changed = changed_by([LARGE] * count, ("traffic light",) * count)
        assert changed.sum() > 0.9 * count * alone


def test_captions_without_room_are_written_all_the_same():
    changed_by([LARGE] * 40, ("traffic light",) * 40)


def test_without_instances_the_photograph_is_faded():
    out = overlay_instances(IMAGE, np.zeros((0, 200, 300), bool), (), ())
    assert out.shape == IMAGE.shape
    assert out.mean() > IMAGE.mean()


def test_the_rim_lies_in_the_region_and_not_along_the_border():
    region = np.zeros((5, 6), bool)
    region[1:, 1:5] = True
    expected = np.zeros((5, 6), bool)
    expected[1, 1:5] = expected[1:, [1, 4]] = True
    np.testing.assert_array_equal(rim(region), expected)


def test_captions_name_class_score_and_crowd():
    rle = encode_rle(SMALL)
    listed = [
        Instance(1, rle, score=0.876, peak=(120, 210)),
        Instance(0, rle),
        Instance(0, rle, crowd=True),
    ]
    things = Things.of(listed, 200, 300, ("cat", "dog"))
    assert things.captions == ("dog 0.88", "cat", "crowd of cat")
    assert things.shape == (200, 300)
    half = things.resized(100, 150)
    np.testing.assert_array_equal(half.regions, np.stack([SMALL[1::2, 1::2]] * 3))
    assert half.peaks == ((60, 105), None, None)
    assert half.captions == things.captions
    assert Things.of([], 200, 300, ("cat",)).resized(20, 30).shape == (20, 30)
