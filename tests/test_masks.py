import numpy as np

from hfpl_jax.masks import label_map, voc_palette


def test_colours_of_the_development_kit():
    palette = voc_palette()
    known = {
        0: (0, 0, 0),
        1: (128, 0, 0),
        2: (0, 128, 0),
        3: (128, 128, 0),
        8: (64, 0, 0),
        15: (192, 128, 128),
        255: (224, 224, 192),
    }
    assert {index: tuple(palette[index].tolist()) for index in known} == known
    assert len({tuple(colour) for colour in palette.tolist()}) == 256


def test_ties_go_to_the_background_and_to_the_first_class():
    cams = np.array([[[0.25, 0.25]]], np.float32)
    assert label_map(cams, np.array([1, 3]), threshold=0.25).item() == 0
    assert label_map(cams, np.array([1, 3]), threshold=0.24).item() == 2
