import numpy as np
import pytest
from PIL import Image
from tiny_datasets import square_mask, write_mask

from hfpl_jax.data.mask_file import read_mask
from hfpl_jax.errors import InputError

OBJECT = square_mask(1) == 1


def read(path, num_classes=1):
    return read_mask(path, "a.jpg", *OBJECT.shape, num_classes)


def test_palettes_do_not_matter(tmp_path):
    """Neither one without black, nor VOC's, whose background is black."""
    write_mask(tmp_path / "odd.png", OBJECT)
    voc = Image.fromarray(OBJECT.astype(np.uint8))
    voc.putpalette([0, 0, 0, 128, 0, 0])
    voc.save(tmp_path / "voc.png")
    write_mask(tmp_path / "gray.png", OBJECT, palette=False)
    for name in ("odd", "voc", "gray"):
        np.testing.assert_array_equal(read(tmp_path / f"{name}.png"), OBJECT)


def test_a_palette_that_a_program_made_is_asked_about(tmp_path):
    """A yellow object on black, saved with as many colours as it has: yellow is 0."""
    picture = np.where(OBJECT[..., None], np.uint8([220, 200, 20]), np.uint8(0))
    mask = Image.fromarray(picture).quantize(2)
    mask.save(tmp_path / "a.png")
    assert np.array_equal(np.asarray(mask) == 0, OBJECT)
    with pytest.raises(
        InputError,
        match=r"a\.png gives the value 0 the colour \(220, 200, 20\) and the value 1 black, as "
        r"if 0 were the object.*Save the mask as an 8-bit grayscale PNG",
    ):
        read(tmp_path / "a.png")


def test_colours_are_refused(tmp_path):
    Image.new("RGB", OBJECT.shape[::-1]).save(tmp_path / "a.png")
    with pytest.raises(InputError, match=r"a\.png has mode RGB.*save it as"):
        read(tmp_path / "a.png")
