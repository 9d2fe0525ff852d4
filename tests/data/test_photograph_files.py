import pytest
from PIL import Image
from tiny_datasets import HEIGHT, WIDTH, jpeg, write

from hfpl_jax.data.photograph_files import (
    Found,
    PhotographFiles,
    list_photographs,
    look_at,
)
from hfpl_jax.errors import InputError


@pytest.fixture
def folder(tmp_path):
    for name in ("b.jpg", "a/c.JPEG", "a/d.png", ".hidden.jpg", ".trash/e.jpg", "a/notes.txt"):
        write(tmp_path / name, jpeg())
    return tmp_path


def test_a_folder_with_all_below_it(folder):
    listing = list_photographs([str(folder)])
    assert listing.root == folder
    assert listing.names == ("a/c.JPEG", "a/d.png", "b.jpg")
    assert listing.others == (str(folder / "a" / "notes.txt"),)


def test_files_are_named_from_the_folder_of_all(folder):
    listing = list_photographs([str(folder / "b.jpg"), str(folder / "a" / "d.png")])
    assert (listing.root, listing.names) == (folder, ("a/d.png", "b.jpg"))
    alone = list_photographs([str(folder / "a" / "d.png")])
    assert (alone.root, alone.names) == (folder / "a", ("d.png",))
    twice = list_photographs([str(folder / "a"), str(folder / "a" / "d.png")])
    assert twice.names == ("c.JPEG", "d.png")


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        (["nowhere"], "nowhere is neither a file nor a folder"),
        (["b.jpeg"], r"is neither a file nor a folder \(did you mean 'b\.jpg'\?\)"),
        (["empty"], r"There is no photograph in .*empty: no file that ends in \.jpg"),
        ([], "There is no photograph in what --photographs names"),
    ],
)
def test_nothing_there_is_a_sentence(folder, given, sentence):
    (folder / "empty").mkdir()
    with pytest.raises(InputError, match=sentence):
        list_photographs([str(folder / name) for name in given])


def test_every_file_is_looked_at_once(folder):
    Image.new("RGB", (5, 4)).save(folder / "a" / "d.png")
    write(folder / "b.jpg", b"<html>")
    first, second, third = look_at(list_photographs([str(folder)]))
    assert first == Found("a/c.JPEG", len(jpeg()), HEIGHT, WIDTH)
    assert (second.height, second.width) == (4, 5)
    assert (third.file_name, third.height, third.width) == ("b.jpg", 0, 0)
    assert "it is a web page, not JPEG or PNG" in third.reason
    assert "config." not in third.reason


def test_a_file_that_changes_is_noticed(folder):
    listing = list_photographs([str(folder)])
    files = PhotographFiles(listing.root, list(look_at(listing)), {"b.jpg": (2, 5)})
    assert [files[index].labels.tolist() for index in range(3)] == [[], [], [2, 5]]
    assert files[2].pixels().shape == (HEIGHT, WIDTH, 3)
    write(folder / "b.jpg", jpeg() + b"more")
    with pytest.raises(InputError, match=r"b\.jpg has changed since it was looked at"):
        files[2]
