"""Lists, XML, CSV, JSON and the names in them give a dataset of the good records, with
the bad ones listed, or a clear error.
"""

import json
import os
import pathlib
import shutil

import numpy as np
import pytest
from hypothesis import given
from mutations import HARMLESS_NAMES, HOSTILE_NAMES, contained, damaged, fuzz, outcome, replaced
from preparation import POLICIES, prepared
from tiny_datasets import (
    annotation,
    box,
    jpeg,
    make_coco,
    make_folder,
    make_voc,
    square_mask,
    write,
    write_mask,
)

from hfpl_jax.data.example import Example
from hfpl_jax.data.journal import Journal
from hfpl_jax.data.voc_seg import object_names

VOC_XML = f'<?xml version="1.0" encoding="UTF-8"?>\n{annotation("cat", "dog")}'.encode()


@fuzz(120)
@given(damaged(VOC_XML, front=60))
def test_damaged_xml(data):
    result = outcome("a.xml", object_names, data, pathlib.Path("a.xml"))
    assert isinstance(result, str) or all(isinstance(name, str) for name in result)


LAUGHS = "".join(f'<!ENTITY l{i} "{f"&l{i - 1};" * 10}">' for i in range(1, 10))
NAMED = "<annotation><object><name>&{};</name></object></annotation>".format
HOSTILE_XML = {
    "a billion laughs": f'<!DOCTYPE a [<!ENTITY l0 "ha">{LAUGHS}]>{NAMED("l9")}',
    "an entity of one's own": f'<!DOCTYPE a [<!ENTITY x "cat">]>{NAMED("x")}',
    "an external entity": f'<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]>{NAMED("x")}',
    "an external DTD": '<!DOCTYPE a SYSTEM "http://localhost:1/x.dtd"><annotation/>',
    "a parameter entity": (
        '<!DOCTYPE a [<!ENTITY % x SYSTEM "file:///etc/passwd"> %x;]><annotation/>'
    ),
    "a billion laughs in UTF-16": f'<!DOCTYPE a [<!ENTITY l0 "ha">{LAUGHS}]><a>&l9;</a>'.encode(
        "utf-16"
    ),
    "an entity that is not declared": "<annotation><object><name>&x;</name></object></annotation>",
    "an encoding that is none": b'<?xml version="1.0" encoding="rot13"?><annotation/>',
    "an encoding of several bytes": b'<?xml version="1.0" encoding="gb18030"?><annotation/>',
    "bytes that are not UTF-8": b"<annotation><object><name>caf\xe9</name></object></annotation>",
    "elements that are not closed": "<a>" * 100_000,
    "an attribute twice": '<annotation a="" a=""/>',
    "nothing": "",
}


@pytest.mark.parametrize("case", HOSTILE_XML)
def test_hostile_xml(case):
    data = HOSTILE_XML[case]
    assert isinstance(
        outcome(
            "a.xml",
            object_names,
            data if isinstance(data, bytes) else data.encode(),
            pathlib.Path("a.xml"),
        ),
        str,
    )


def test_long_and_deep_xml_takes_time_in_proportion():
    name, nested = (
        b"<object><name>" + b"x\n&amp;" * 500_000 + b"</name></object>",
        b"<b>" * 200_000 + b"</b>" * 200_000,
    )
    text = b"<annotation>" + name + nested + b"</annotation>"
    with contained():
        [name] = object_names(text, pathlib.Path("a.xml"))
    assert len(name) == 1_500_000


@pytest.fixture
def voc(places):
    make_voc(places[0], {"train": {"a": ("cat",), "b": ("dog",), "c": ("cow",)}})
    return places


@fuzz(30)
@given(damaged(b"a\nb\r\nc 1\n"), POLICIES)
def test_damaged_lists(voc, data, policy):
    write(voc[0] / "ImageSets/Segmentation/train.txt", data)
    prepared("voc_seg", voc, policy)


CSV = (
    b"# classes: cat, traffic light\nfile_name,labels,split\n"
    b"1.jpg,cat;traffic light,train\n2.jpg,cat,val\n"
)
JSON = {
    "classes": ["cat", "dog"],
    "images": [
        {"file_name": "1.jpg", "labels": ["cat"], "split": "train"},
        {"file_name": "2.jpg", "labels": ["dog", "cat"]},
    ],
}


@fuzz(60)
@given(damaged(CSV, front=50), POLICIES)
def test_damaged_csv(places, data, policy):
    source, output = places
    make_folder(source, data, ("1.jpg", "2.jpg"))
    prepared("folder", (source, output), policy)


@fuzz(80)
@given(replaced(JSON).map(json.dumps) | damaged(json.dumps(JSON).encode()), POLICIES)
def test_damaged_json(places, data, policy):
    source, output = places
    make_folder(source, data, ("1.jpg", "2.jpg"), "labels.json")
    prepared("folder", (source, output), policy, labels="labels.json")


HOSTILE_LABEL_FILES = {
    "comments without end": ("csv", b"#\n" * 500_000, "the header is ''"),
    "a split a line": (
        "csv",
        b"file_name,labels,split\n" + b"".join(b"1.jpg,cat,s%d\n" % i for i in range(20_000)),
        "names 20000 splits",
    ),
    "a class a line": (
        "csv",
        b"file_name,labels\n" + b"".join(b"1.jpg,c%d\n" % i for i in range(20_000)),
        "names 20000 classes",
    ),
    "one label of a megabyte": (
        "csv",
        b"file_name,labels\n1.jpg," + b"x" * 100_000,
        "class number 1 is 'xxx",
    ),
    "UTF-16": ("csv", "file_name,labels\n1.jpg,cat\n".encode("utf-16"), "is not UTF-8"),
    "Latin 1": ("csv", b"file_name,labels\n1.jpg,caf\xe9\n", "line 2 is not UTF-8"),
    "deep JSON": ("json", b"[" * 200_000, "is not JSON"),
    "a number of a megabyte": (
        "json",
        b'{"classes": ["a"], "images": [' + b"9" * 1_000_000 + b"]}",
        "is not JSON",
    ),
    "a class over two lines": (
        "json",
        b'{"classes": ["a\\rb"], "images": []}',
        "class number 1 is",
    ),
    "a class of half a character": (
        "json",
        b'{"classes": ["\\ud800"], "images": []}',
        "class number 1 is",
    ),
}


@pytest.mark.parametrize("case", HOSTILE_LABEL_FILES)
def test_hostile_label_files(places, case):
    source, output = places
    suffix, data, message = HOSTILE_LABEL_FILES[case]
    make_folder(source, data, ("1.jpg",), f"labels.{suffix}")
    assert message in prepared("folder", (source, output), labels=f"labels.{suffix}")


@pytest.mark.parametrize(
    "split", ["all", "_", "../x", "train/..", "x" * 300, "tr\0ain", "ä", "train[:1]"]
)
def test_splits_that_cannot_be_part_of_a_file_s_name(places, split):
    source, output = places
    images = [
        {"file_name": "1.jpg", "labels": ["cat"]},
        {"file_name": "2.jpg", "labels": ["cat"], "split": split},
    ]
    make_folder(
        source,
        json.dumps({"classes": ["cat"], "images": images}),
        ("1.jpg", "2.jpg"),
        "labels.json",
    )
    dataset = prepared("folder", (source, output), labels="labels.json")
    assert dataset.splits == ("train",)
    assert "has the split" in dataset.skipped()[0]["reason"]


def names_in_json(source, names):
    names = [write(source / "1.jpg", jpeg()).name, *names]
    images = [{"file_name": name, "labels": ["cat"]} for name in names]
    write(source / "labels.json", json.dumps({"classes": ["cat"], "images": images}))
    return "folder", {"labels": "labels.json", "masks": "masks"}


def names_in_csv(source, names):
    names = [write(source / "1.jpg", jpeg()).name, *names]
    lines = "".join(f'"{name}",cat\n' for name in names)
    write(
        source / "labels.csv",
        f"# classes: cat\nfile_name,labels\n{lines}".encode(errors="surrogatepass"),
    )
    return "folder", {"masks": "masks"}


def names_in_a_list(source, names):
    stems = [name.removesuffix(".jpg") for name in names]
    make_voc(source, {"train": {"2007_000001": ("cat",)}})
    write(
        source / "ImageSets/Segmentation/train.txt",
        "\n".join(["2007_000001", *stems]).encode(errors="surrogatepass"),
    )
    return "voc_seg", {}


def names_in_coco(source, names):
    content = make_coco(
        source,
        "train",
        {
            i: [{"category_id": 1, "segmentation": box(0, 0, 9, 9)}]
            for i in range(1, len(names) + 2)
        },
    )
    for image, name in zip(content["images"][1:], names, strict=True):
        (source / "train2017" / image["file_name"]).unlink()
        image["file_name"] = name
    write(source / "annotations/instances_train2017.json", json.dumps(content))
    return "coco_seg", {}


FORMATS = {
    "CSV": names_in_csv,
    "JSON": names_in_json,
    "VOC": names_in_a_list,
    "COCO": names_in_coco,
}


@pytest.mark.parametrize("name", [*HOSTILE_NAMES, "HERE"], ids=lambda name: ascii(name)[:20])
@pytest.mark.parametrize("format", FORMATS)
def test_hostile_names(places, format, name):
    """What they lead to is not read, though it is a photograph: the name is listed as
    left out.
    """
    source, output = places
    write_mask(source / "masks/1.png", square_mask(1))
    decoys = [write(folder / "x.jpg", jpeg()) for folder in source.parents[:2]]
    kind, options = FORMATS[format](source, [name.replace("HERE", str(decoys[0]))])
    dataset = prepared(kind, (source, output), **options)
    for decoy in decoys:
        decoy.unlink()
    if isinstance(dataset, str):
        assert format == "CSV"
        assert "is not UTF-8" in dataset  # half a surrogate pair
    else:
        assert len(dataset.split("train")) == 1
        assert len(dataset.skipped()) == 1 or format in (
            "CSV",
            "VOC",
        )  # whose lines end at a line break, and at a blank in a list


@pytest.mark.parametrize("name", HARMLESS_NAMES)
def test_odd_names_are_read_as_what_they_are(places, name):
    source, output = places
    write_mask(source / "masks/1.png", square_mask(1))
    write(source / name, jpeg())
    dataset = prepared("folder", (source, output), "raise", **names_in_json(source, [name])[1])
    assert [example.file_name for example in dataset.split("train")] == ["1.jpg", name]


def test_what_is_no_file_is_not_read(places):
    source, output = places
    os.mkfifo(source / "pipe.jpg")  # reading one waits for ever, reading the next never ends
    (source / "zero.jpg").symlink_to("/dev/zero")
    (source / "loop.jpg").symlink_to("loop.jpg")
    (source / "folder.jpg").mkdir()
    write_mask(source / "masks/1.png", square_mask(1))
    names = ["pipe.jpg", "zero.jpg", "loop.jpg", "folder.jpg"]
    dataset = prepared("folder", (source, output), **names_in_json(source, names)[1])
    assert [skipped["file_name"] for skipped in dataset.skipped()] == names


def test_a_file_whose_name_is_not_utf8_does_not_matter(places):
    source, output = places
    make_voc(source, {"train": {"a": ("cat",)}})
    pathlib.Path(os.fsdecode(os.fsencode(source / "JPEGImages") + b"/caf\xe9.jpg")).write_bytes(
        jpeg()
    )
    assert len(prepared("voc_seg", (source, output), "raise").split("train")) == 1


def test_a_damaged_journal_is_begun_anew(tmp_path):
    def opened(data):
        journal = Journal(tmp_path)
        found = journal.get("a.jpg", "as it is", b"image")
        journal.add("as it is", NOTED, ())
        journal.close()
        (path,) = tmp_path.iterdir()
        if data is not None:
            path.write_bytes(data)
        return found, path.read_bytes()

    with contained():
        _, whole = opened(None)
        for data in (b"", b"no records", whole[:100], whole[:-9], bytes(len(whole))):
            shutil.rmtree(tmp_path)
            opened(data)
            assert opened(None)[0] is None
    Journal(tmp_path).close()
    noted, changes = Journal(tmp_path).get("a.jpg", "as it is", b"image")
    assert (noted.labels.tolist(), noted.image, noted.width, changes) == ([0, 2], b"image", 3, ())
    assert Journal(tmp_path).get("a.jpg", "another", b"image") is None


NOTED = Example("a.jpg", b"", np.array([0, 2]), None, 2, 3)
