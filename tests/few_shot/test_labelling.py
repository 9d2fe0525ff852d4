"""Labels from a handful of examples, and the file that they come from and go to."""

import numpy as np
import pytest
from tiny_datasets import make_folder

from hfpl_jax.data.label_file import read_label_file
from hfpl_jax.errors import InputError
from hfpl_jax.few_shot.examples import read_labelled
from hfpl_jax.few_shot.labelling import (
    check_examples,
    known_again,
    nearest_classes,
    write_labels,
)

NAMES = ("a.jpg", "b/c.jpg", "d.jpg", "e.jpg")
ROWS = "# classes: dog; cat\nfile_name,labels\na.jpg,cat\nb/c.jpg,dog\nd.jpg,background\n"


def labelled(tmp_path, text):
    return read_labelled(tmp_path / "labels.csv", make_folder(tmp_path, text, NAMES))


def test_examples_are_of_one_class_and_background_is_one_behind_the_others(tmp_path):
    found = labelled(tmp_path, ROWS + "e.jpg,cat;dog\n")
    assert found.class_names == ("dog", "cat", "background")
    assert found.classes == {"a.jpg": 1, "b/c.jpg": 0, "d.jpg": 2}
    assert found.several == ("e.jpg",)
    assert found.counts == {"dog": 1, "cat": 1, "background": 1}
    assert labelled(tmp_path, "file_name,labels\na.jpg,cat\n").class_names == ("cat",)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (
            ROWS + "e.jpg,cat;dog\n",
            r"gives e\.jpg several labels, but an example shows one class: .* \(1 such rows\)",
        ),
        (
            "# classes: dog; cat; cow\nfile_name,labels\na.jpg,cat\n",
            r"has no example of dog, cow\. Add a photograph",
        ),
        ("file_name,labels\nA.jpg,cat\n", r"line 2 lists A\.jpg, which is not in .*did you mean"),
        ("file_name,labels\na.jpg,\nd.jpg,cat\n", r"line 2 gives a\.jpg no labels"),
    ],
)
def test_what_no_prototype_can_be_made_of_is_told(text, sentence, tmp_path):
    with pytest.raises(InputError, match=sentence):
        check_examples(tmp_path / "labels.csv", labelled(tmp_path, text))


def test_each_photograph_gets_the_class_of_the_nearest_mean():
    examples = np.array([[0.0, 0.0], [2.0, 0.0], [9.0, 9.0]], np.float32)
    features = np.array([[1.0, 1.0], [6.0, 6.0], [4.0, 4.0]], np.float32)
    found = nearest_classes(features, examples, np.array([1, 1, 0]), 2)
    assert found.tolist() == [1, 0, 1]
    many = nearest_classes(np.tile(features, (100, 1)), examples, np.array([1, 1, 0]), 2)
    assert many.tolist() == 100 * [1, 0, 1]


def test_an_example_is_known_again_without_itself():
    """The third is nearer to the other class; the last has no other of its class."""
    examples = np.array([[0.0], [1.0], [10.0], [9.0], [40.0]], np.float32)
    assert known_again(examples, np.array([0, 0, 0, 1, 2]), 3) == (2, 3)


def test_the_written_file_is_read_as_one_of_the_users_own(tmp_path):
    labels = {'odd, "name".jpg': "traffic light", "b/c.jpg": "background", "d.jpg": "cat"}
    write_labels(tmp_path / "labels.csv", ("traffic light", "cat", "background"), labels)
    content = read_label_file(tmp_path / "labels.csv")
    assert content.class_names == ("traffic light", "cat")
    found = {entry.file_name: entry.labels for entry in content.entries}
    assert found == {'odd, "name".jpg': (0,), "b/c.jpg": (), "d.jpg": (1,)}
    assert not [entry for entry in content.entries if entry.error]
