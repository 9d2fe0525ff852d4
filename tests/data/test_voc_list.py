"""Lists of photographs as repositories hand them on."""

import pytest

from hfpl_jax.data.voc_list import Listed, read_list
from hfpl_jax.errors import InputError

FILES = (
    "a.jpg",
    "b.JPG",
    "c.png",
    "my cat.jpg",
    "d.v1.jpg",
    "e.jpg",
    "e.png",
    "f 1.jpg",
    "g.jpg.jpg",
)


@pytest.fixture
def read(tmp_path):
    """`read(text)` gives the photographs of a list beside FILES."""
    (tmp_path / "JPEGImages").mkdir()
    for name in FILES:
        (tmp_path / "JPEGImages" / name).touch()

    def call(text):
        data = text if isinstance(text, bytes) else text.encode()
        return read_list(data, tmp_path / "train.txt", tmp_path)

    return call


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("a\nb\nc\n", ["a.jpg", "b.JPG", "c.png"]),
        ("a.jpg\nb.jpg\nc.jpg", ["a.jpg", "b.JPG", "c.png"]),  # the files that are there
        ("\r\n a\r\nb \r\n\r\nc\r\n\r\n", ["a.jpg", "b.JPG", "c.png"]),
        ("a\nb\n".encode("utf-8-sig"), ["a.jpg", "b.JPG"]),
        ("a\rb", ["a.jpg", "b.JPG"]),
        ("my cat\nd.v1", ["my cat.jpg", "d.v1.jpg"]),
        ("e.png", ["e.png"]),
        ("e.jpg", ["e.jpg"]),
        ("f 1\na", ["f 1.jpg", "a.jpg"]),  # a name, not a line of ImageSets/Main
        ("g.jpg", ["g.jpg.jpg"]),
        ("/JPEGImages/a.jpg\nVOC2012/JPEGImages/b", ["a.jpg", "b.JPG"]),
        ("absent\nabsent.png", ["absent.jpg", "absent.png"]),  # reading it will tell
        ("../a\nx/y", ["../a.jpg", "x/y.jpg"]),
    ],
)
def test_a_name_a_line(read, text, names):
    assert read(text) == [Listed(name) for name in names]


@pytest.mark.parametrize(
    ("line", "listed"),
    [
        ("/JPEGImages/a.jpg /SegmentationClassAug/a.png", ("a.jpg", "SegmentationClassAug/a.png")),
        ("JPEGImages/a.jpg\tSegmentationClass/x.png", ("a.jpg", "SegmentationClass/x.png")),
        ("VOC2012/JPEGImages/my cat.jpg  VOC2012/SegmentationClass/my cat.png",
         ("my cat.jpg", "SegmentationClass/my cat.png")),
    ],
)  # fmt: skip
def test_a_pair_a_line(read, line, listed):
    assert read(line) == [Listed(*listed)]


@pytest.mark.parametrize(
    ("file_name", "stem"),
    [("a.jpg", "a"), ("d.v1.JPG", "d.v1"), ("my cat.png", "my cat"), ("g.jpg.jpg", "g.jpg")],
)
def test_what_annotation_and_mask_are_called_after(file_name, stem):
    assert Listed(file_name).stem == stem


@pytest.mark.parametrize("line", ["a  1", "b -1", "my cat 0"])
def test_a_list_of_imagesets_main_is_not_taken_for_a_split(read, line):
    with pytest.raises(
        InputError,
        match=r"train\.txt, line 2, .* list of ImageSets/Main, .*Put a list of ImageSets/Segm",
    ):
        read(f"c\n{line}\n")


def test_utf_16_is_told(read):
    with pytest.raises(InputError, match=r"train\.txt is in UTF-16\. Save it as UTF-8"):
        read("a\nb\n".encode("utf-16"))


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("e", r": 'e' may be e\.jpg or e\.png in JPEGImages\. Give the extension"),
        ("/JPEGImages/a.jpg /labels/a.png", r"names the mask '/labels/a\.png'\. Give one in Segm"),
        ("JPEGImages/a.jpg SegmentationClass/../../a.png", "names the mask .*Give one in Segm"),
    ],
)
def test_a_line_that_could_mean_two_things_is_a_bad_record(read, line, message):
    good, bad = read(f"a\n{line}\n")
    assert good == Listed("a.jpg")
    with pytest.raises(InputError, match=r"train\.txt, line 2.*" + message):
        raise bad.error
