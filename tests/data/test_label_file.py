"""What a label file says: the right classes and labels, or a question."""

import json

import pytest
from tiny_datasets import write

from hfpl_jax.data.class_names import COCO_CLASSES, VOC_CLASSES
from hfpl_jax.data.label_file import read_label_file
from hfpl_jax.errors import InputError


def read(folder, text, name="labels.csv"):
    return read_label_file(write(folder / name, text))


def classes_and_labels(contents):
    """The class names, and the names of each photograph's labels."""
    for entry in contents.entries:
        assert entry.error is None, entry.error
    return contents.class_names, {
        entry.file_name: [contents.class_names[label] for label in entry.labels]
        for entry in contents.entries
    }


HEADER = "file_name,labels\n"
CAT_AND_DOG = ("cat", "dog"), {"a.jpg": ["cat", "dog"], "b.jpg": ["dog"]}
RIGHT = {
    "a blank belongs to the name, with and without a semicolon": (
        f"{HEADER}a.jpg,cat;traffic light\nb.jpg,traffic light\nc.jpg,dog\n",
        (
            ("cat", "dog", "traffic light"),
            {"a.jpg": ["cat", "traffic light"], "b.jpg": ["traffic light"], "c.jpg": ["dog"]},
        ),
    ),
    "semicolons with blanks, and one too many": (
        f"{HEADER}a.jpg, dog ; cat;\nb.jpg,dog\n",
        CAT_AND_DOG,
    ),
    "one row a label": (f"{HEADER}a.jpg,cat\na.jpg,dog\nb.jpg,dog\n", CAT_AND_DOG),
    "one row a label, apart, under two spellings": (
        f"{HEADER}a.jpg,cat\nb.jpg,dog\n./a.jpg,dog\n",
        CAT_AND_DOG,
    ),
    "two normal forms, no-break and zero-width blanks": (
        f"{HEADER}a.jpg,caf\u00e9\nb.jpg,cafe\u0301\n"
        "c.jpg,hot\u00a0dog\nd.jpg,\ufeffhot dog\u200b\n",
        (
            ("caf\u00e9", "hot dog"),
            {"a.jpg": ["café"], "b.jpg": ["café"], "c.jpg": ["hot dog"], "d.jpg": ["hot dog"]},
        ),
    ),
    "numbers in their order": (
        f"{HEADER}a.jpg,0\nb.jpg,1\nc.jpg,10\nd.jpg,2\n",
        (
            ("0", "1", "2", "10"),
            {"a.jpg": ["0"], "b.jpg": ["1"], "c.jpg": ["10"], "d.jpg": ["2"]},
        ),
    ),
    "background alone": (
        f"{HEADER}a.jpg,cat\nb.jpg,Background\n",
        (("cat",), {"a.jpg": ["cat"], "b.jpg": []}),
    ),
    "declared, with semicolons and a name that holds commas": (
        f'# classes: dog; cat, tame; cat\n{HEADER}a.jpg,"cat;cat, tame"\n',
        (("dog", "cat, tame", "cat"), {"a.jpg": ["cat, tame", "cat"]}),
    ),
    "declared, a name in quotes": (
        f'# classes: dog, "cat, tame"\n{HEADER}a.jpg,"cat, tame"\n',
        (("dog", "cat, tame"), {"a.jpg": ["cat, tame"]}),
    ),
    "declared: none is a class": (
        f"# classes: none, cat\n{HEADER}a.jpg,none\n",
        (("none", "cat"), {"a.jpg": ["none"]}),
    ),
    "declared, saved by a spreadsheet": (
        '"# classes: dog, cat",\r\nfile_name,labels\r\na.jpg,cat\r\n',
        (("dog", "cat"), {"a.jpg": ["cat"]}),
    ),
    "columns apart by semicolons": (
        '# classes: cat, dog;\nfile_name;labels\na.jpg;"cat;dog"\nb.jpg;dog\n',
        CAT_AND_DOG,
    ),
    "columns apart by tabs": ("file_name\tlabels\na.jpg\tcat;dog\nb.jpg\tdog\n", CAT_AND_DOG),
    "a spreadsheet's empty columns and rows": (
        "\ufeffFile_Name,Labels,\r\na.jpg,cat;dog,\r\n,,\r\nb.jpg,dog,\r\n,\r\n",
        CAT_AND_DOG,
    ),
    "old line ends": ("file_name,labels\ra.jpg,cat;dog\rb.jpg,dog\r", CAT_AND_DOG),
}


@pytest.mark.parametrize("case", RIGHT)
def test_right_values(tmp_path, case):
    text, expected = RIGHT[case]
    assert classes_and_labels(read(tmp_path, text)) == expected


@pytest.mark.parametrize("names", [VOC_CLASSES, COCO_CLASSES], ids=["VOC", "COCO"])
def test_names_of_several_words_are_not_asked_about(tmp_path, names):
    contents = read(tmp_path, HEADER + "".join(f"{name}.jpg,{name}\n" for name in names))
    assert classes_and_labels(contents) == (
        tuple(sorted(names)),
        {f"{name}.jpg": [name] for name in names},
    )


QUESTIONS = {
    "a comma in quotes": (
        'a.jpg,"cat,dog"\n',
        r"labels\.csv, line 2: 'cat,dog' can be read as one class of this name or as the classes "
        r"'cat', 'dog'\. For several, write 'cat;dog' .*for one, .*'# classes: cat,dog; \.\.\.'",
    ),
    "a comma and a blank": ('a.jpg,"dog, bird"\n', "'dog, bird' can be read as one class"),
    "a bar": ("a.jpg,cat|dog\n", "'cat|dog' can be read as one class"),
    "a list of Python": ("a.jpg,\"['cat', 'dog']\"\n", r"write 'cat;dog'"),
    "a list of one": ("a.jpg,['cat']\n", "or as the classes 'cat'"),
    "a full-width comma": ("a.jpg,猫，犬\n", "or as the classes '猫', '犬'"),
    "blanks between labels": (
        "a.jpg,cat\nb.jpg,dog\nc.jpg,cat dog\n",
        "line 4: 'cat dog' can be read as",
    ),
    "a stroke between labels": ("a.jpg,cat\nb.jpg,dog\nc.jpg,cat / dog\n", "write 'cat;dog'"),
    "and between labels": ("a.jpg,cat\nb.jpg,dog\nc.jpg,cat and dog\n", "write 'cat;dog'"),
    "blanks throughout": (
        "a.jpg,cat dog\nb.jpg,dog bird\nc.jpg,bird cat\n",
        "line 2: 'cat dog' can be read as",
    ),
    "upper and lower case": (
        "a.jpg,Cat\nb.jpg,cat\n",
        "names the classes 'Cat' and 'cat', which look like one",
    ),
    "a joiner that is not seen": ("a.jpg,cat\u200d\nb.jpg,cat\n", r"'cat' and 'cat\\u200d'"),
    "two blanks": ("a.jpg,hot  dog\nb.jpg,hot dog\n", "'hot  dog' and 'hot dog'"),
    "leading zeros": ("a.jpg,01\nb.jpg,1\nc.jpg,2\n", "'01' and '1', which look like one"),
}


@pytest.mark.parametrize("case", QUESTIONS)
def test_what_can_be_read_in_two_ways_is_asked(tmp_path, case):
    text, message = QUESTIONS[case]
    with pytest.raises(InputError, match=message.replace("|", r"\|")):
        read(tmp_path, HEADER + text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "file_name,cat,dog\na.jpg,1,0\nb.jpg,0,1\nc.jpg,1,1\n",
            r"line 1: the header is 'file_name,cat,dog', with a column for each class\. "
            r"Write .*rows such as c\.jpg,cat;dog\.",
        ),
        ("file_name,cat,dog\na.jpg,big,small\n", "Write file_name,labels or"),
        ("Filename,Label\na.jpg,cat\n", "the header is 'Filename,Label'. Write file_name,labels"),
        ("# classes: Cat, cat\nfile_name,labels\n", "'Cat' and 'cat', which look like one"),
        (
            "file_name,labels,split\na.jpg,cat,train\nb.jpg,cat,Train\n",
            "names the splits 'train' and 'Train'",
        ),
    ],
)
def test_files_that_stop(tmp_path, text, message):
    with pytest.raises(InputError, match=message):
        read(tmp_path, text)


def test_encodings_are_named_with_the_cure(tmp_path):
    with pytest.raises(InputError, match=r"is not UTF-8 \(it is UTF-16\)\. Save .*'CSV UTF-8'"):
        read(tmp_path, "file_name\tlabels\na.jpg\tcat\n".encode("utf-16"))


BAD_ROWS = {
    "an empty cell": (
        "a.jpg,cat\nb.jpg,\n",
        {"b.jpg": "line 4 gives b.jpg no labels. Name .*, write background if none is"},
    ),
    "none": (
        "a.jpg,none\n",
        {"a.jpg": "the label 'none', .*Write background if the photograph shows none of them"},
    ),
    "commas between declared classes": (
        'a.jpg,"cat, dog"\n',
        {"a.jpg": "the label 'cat, dog', .*Write 'cat;dog'"},
    ),
    "blanks between declared classes": ("a.jpg,dog cat\n", {"a.jpg": "Write 'dog;cat'"}),
    "another case": ("a.jpg,Cat\n", {"a.jpg": "did you mean 'cat'"}),
    "background beside a class": (
        "a.jpg,cat;background\n",
        {"a.jpg": "the label background beside a class"},
    ),
    "background and a class in two rows": (
        "a.jpg,cat\na.jpg,background\n",
        {"a.jpg": "line 4 gives a.jpg the label background beside a class"},
    ),
    "a row twice": (
        "a.jpg,cat;dog\nb.jpg,cat\na.jpg,dog;cat\n",
        {"a.jpg": r"line 5 is the same as .*line 3: a\.jpg"},
    ),
    "one good row and a bad one": ("a.jpg,cat\na.jpg,dgo\n", {"a.jpg": "the label 'dgo'"}),
}


@pytest.mark.parametrize("case", BAD_ROWS)
def test_bad_rows_make_their_photograph_bad(tmp_path, case):
    text, expected = BAD_ROWS[case]
    contents = read(tmp_path, f"# classes: cat, dog\n{HEADER}{text}")
    errors = {entry.file_name: str(entry.error) for entry in contents.entries if entry.error}
    assert errors.keys() == expected.keys()
    for name, message in expected.items():
        with pytest.raises(InputError, match=message):
            raise InputError(errors[name])


def test_none_is_no_class_where_classes_are_not_declared(tmp_path):
    contents = read(tmp_path, f"{HEADER}a.jpg,cat\nb.jpg,none\n")
    assert contents.class_names == ("cat",)
    assert "Write background" in str(contents.entries[1].error)


def test_a_photograph_of_two_splits_has_the_same_labels_in_both(tmp_path):
    head = "file_name,labels,split\n"
    same = read(tmp_path, f"{head}a.jpg,cat,train\na.jpg,cat,part\n")
    assert [(entry.split, entry.labels) for entry in same.entries] == [
        ("train", (0,)),
        ("part", (0,)),
    ]
    other = read(tmp_path, f"{head}a.jpg,cat,train\na.jpg,dog,val\n")
    assert [entry.error is None for entry in other.entries] == [True, False]
    assert "other labels in split val than" in str(other.entries[1].error)


def test_json_says_the_same(tmp_path):
    images = [
        {"file_name": "a.jpg", "labels": ["cafe\u0301"]},
        {"file_name": "a.jpg", "labels": ["dog"]},
        {"file_name": "b.jpg", "labels": ["background"]},
        {"file_name": "c.jpg", "labels": ["dog,caf\u00e9"]},
        {"file_name": "d.jpg", "labels": []},
    ]
    content = {"classes": ["dog", "caf\u00e9"], "images": images}
    contents = read(tmp_path, json.dumps(content), "labels.json")
    assert contents.class_names == ("dog", "caf\u00e9")
    assert [entry.labels for entry in contents.entries[:2]] == [(0, 1), ()]
    assert "Write 'dog;café' (in JSON, one text a label)" in str(contents.entries[2].error)
    assert "no labels" in str(contents.entries[3].error)
    content["classes"].append("Dog")
    with pytest.raises(InputError, match="'dog' and 'Dog', which look like one"):
        read(tmp_path, json.dumps(content), "labels.json")
