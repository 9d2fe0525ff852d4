"""TFRecord exports read back by TensorFlow itself, in a process of its own so that no
other test gets to see it.
"""

import importlib.util
import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest
from pseudo_labels import CLASS_NAMES, encoded_instances, make
from test_odd_photographs import ODD, exported

from hfpl_jax.export import export, parts

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("tensorflow") is None, reason="TensorFlow is not installed"
)


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """What both ways of reading found; importing TensorFlow takes long, so they share a
    process.
    """
    folder = tmp_path_factory.mktemp("export")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(parts, "IMAGES_PER_PART", 2)
        places = {"tfrecord": folder / "set"}
        export(make(5, instances=True), places, class_names=CLASS_NAMES, split="train")
    exported(folder, ["tfrecord"])
    script = pathlib.Path(__file__).with_name("read_with_tensorflow.py")
    environment = os.environ | {"CUDA_VISIBLE_DEVICES": "", "TF_CPP_MIN_LOG_LEVEL": "3"}
    subprocess.run(
        [sys.executable, script, folder / "set", folder / "tfrecord", folder / "found.npz"],
        check=True,
        env=environment,
    )
    return np.load(folder / "found.npz", allow_pickle=False)


@pytest.mark.parametrize("reader", ["tf.data", "tfds"])
def test_every_feature_is_the_same_bit_by_bit(found, reader):
    pseudo_labels = make(5, instances=True)
    arrays = {
        name.removeprefix(f"{reader}/"): found[name]
        for name in found.files
        if name.startswith(f"{reader}/")
    }
    assert len(arrays) == (7 + 4) * len(pseudo_labels)
    for i, pseudo_label in enumerate(pseudo_labels):
        height, width = pseudo_label.mask.shape
        assert arrays[f"{i}/file_name"].tobytes().decode() == pseudo_label.file_name
        assert arrays[f"{i}/image"].tobytes() == pseudo_label.image
        assert arrays[f"{i}/labels"].tolist() == list(pseudo_label.labels)
        assert (arrays[f"{i}/height"], arrays[f"{i}/width"]) == (height, width)
        for name, expected in (
            ("segmentation_mask", pseudo_label.mask),
            ("confidence", pseudo_label.confidence),
        ):
            assert arrays[f"{i}/{name}"].dtype == np.uint8
            np.testing.assert_array_equal(arrays[f"{i}/{name}"], expected[..., None])
        listed = encoded_instances(pseudo_label)
        expected = {name: [one[name] for one in listed] for name in ("label", "score", "peak")}
        for name, values in expected.items():
            found_values = arrays[f"{i}/instances/{name}"]
            assert found_values.ravel().tolist() == np.ravel(values).tolist(), name
        counts = arrays[f"{i}/instances/counts"].astype(np.uint8).tobytes()
        assert counts.split(b"\0")[:-1] == [one["counts"] for one in listed]


def test_odd_photographs_are_decoded_to_what_the_network_sees(found):
    for i, (name, (_, _, picture)) in enumerate(ODD.items()):
        assert found[f"decoded/{i}/file_name"].tobytes().decode() == name
        np.testing.assert_array_equal(found[f"decoded/{i}/image"], picture, name)
