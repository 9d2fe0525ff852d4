import unicodedata

import pytest
from tiny_datasets import config, jpeg, make_folder, square_mask, write, write_mask

from hfpl_jax.data.prepare import prepare
from hfpl_jax.errors import InputError


def test_a_name_in_another_normal_form_is_found(tmp_path):
    """As a spreadsheet writes it, and as an archive from macOS unpacks it."""
    written, on_disk = (unicodedata.normalize(form, "été/café.jpg") for form in ("NFC", "NFD"))
    root = make_folder(tmp_path / "photos", f"file_name,labels\n{written},a\n", (on_disk,))
    write_mask(root / "masks" / on_disk.replace(".jpg", ".png"), square_mask(1))
    dataset = prepare(config("folder", root, options={"masks": "masks"}), tmp_path / "out")
    [example] = dataset.split("train")
    assert example.file_name == written
    assert example.image == jpeg(0)
    assert example.segmentation_mask is not None


@pytest.mark.parametrize(
    ("listed", "meant"),
    [
        ("sub\\\\a.jpg", "'sub/a.jpg', with '/' between folders"),
        ("sub/a.JPG", "'sub/a.jpg'"),
        ("sub/a", "'sub/a.jpg'"),
        ("sub/a.jpeg", "'sub/a.jpg'"),
    ],
)
def test_a_name_that_is_not_there_is_met_with_the_one_meant(tmp_path, listed, meant):
    root = make_folder(tmp_path / "photos", "", ("sub/a.jpg",))
    write(root / "labels.csv", f"file_name,labels\n{listed.replace(chr(92) * 2, chr(92))},cat\n")
    with pytest.raises(InputError, match=r"line 2\) \(did you mean " + meant):
        prepare(config("folder", root), tmp_path / "out")


def test_masks_that_belong_to_no_photograph_are_not_passed_over(tmp_path):
    root = make_folder(tmp_path / "photos", "file_name,labels\na.jpg,cat\n", ("a.jpg",))
    write_mask(root / "masks/a.PNG", square_mask(1))
    with pytest.raises(
        InputError, match=r"none of the 1 photographs has a mask .*'a\.png' \(did you mean 'a\.PNG'"
    ):
        prepare(config("folder", root, options={"masks": "masks"}), tmp_path / "out")
