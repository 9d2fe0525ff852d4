"""`python -m hfpl_jax.export_model` on a finished run of two small networks, and what it
makes in a process that has JAX alone.
"""

import dataclasses
import json
import subprocess
import sys

import jax
import numpy as np
import pytest
from finished_run import CLASSES, CLASSIFIER, FINAL, ON_TRANSFORMER, write_run, write_training
from PIL import Image

import hfpl_jax
from hfpl_jax import export_model
from hfpl_jax.errors import InputError
from hfpl_jax.inference.segmentation import probabilities_of
from hfpl_jax.methods import METHODS
from hfpl_jax.methods.cam import Cam
from hfpl_jax.portable import exported

SIZE = (41, 57)
ALONE = """
import sys
sys.modules["hfpl_jax"] = None  # cannot be imported
import jax.export
import numpy as np

with open(sys.argv[1], "rb") as file:
    program = jax.export.deserialize(bytearray(file.read()))
assert program.platforms == ("cpu", "cuda", "tpu")
images = np.load("images.npy")
maps = [jax.jit(program.call)(images[first:end]) for first, end in ((0, 1), (1, 3), (0, 5))]
np.save("maps.npy", np.concatenate(maps))
assert not {"flax", "orbax", "grain", "PIL"} & set(sys.modules)
"""


def photographs(count):
    """Of smooth colours; uint8 [count, *SIZE, 3]."""
    small = np.random.default_rng(0).integers(0, 256, (count, 5, 5, 3), np.uint8)
    return np.stack([np.asarray(Image.fromarray(each).resize(SIZE[::-1], 3)) for each in small])


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("run")
    write_run(workdir)
    return workdir


def cams(network, images):
    return network.cams(list(images), [range(len(CLASSES))] * len(images))


def probabilities(network, images):
    def merge(index, photograph, maps, scaled_sizes):
        return probabilities_of(photograph, maps, scaled_sizes, views=2)

    return network._each(list(images), None, merge)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("network", "expected", "channels"),
    [("cam", cams, CLASSES), ("segmentation", probabilities, ("background", *CLASSES))],
)
def test_a_process_with_jax_alone(workdir, tmp_path, capsys, network, expected, channels):
    output, images = tmp_path / "made" / "model.stablehlo", photographs(5)
    export_model.main(
        [f"--run={workdir}", "--size=41,57", f"--output={output}", f"--network={network}"]
    )
    assert capsys.readouterr().out.startswith(f"Program: {output} (")
    np.save(tmp_path / "images.npy", images)
    subprocess.run([sys.executable, "-c", ALONE, str(output)], cwd=tmp_path, check=True)
    made = np.load(tmp_path / "maps.npy")
    loaded = hfpl_jax.load(workdir, network)
    leaves = jax.tree.leaves(loaded.predictor.variables)
    size = sum(leaf.nbytes for leaf in leaves)
    assert size < output.stat().st_size < 1.5 * size  # both scales share the parameters
    wanted = np.stack(expected(loaded, images))
    assert made.dtype == np.float32
    np.testing.assert_allclose(made[3:], wanted, atol=1e-5)
    np.testing.assert_allclose(made[:3], wanted[:3], atol=1e-5)
    assert wanted.std(axis=(0, 1, 2)).max() > 0.1

    said = json.loads((tmp_path / "made" / "model.stablehlo.json").read_text())
    assert said["channels"] == list(channels)
    assert said["maps"] == f"float32 [b, 41, 57, {len(channels)}]"
    assert said["threshold"] == (0.4 if network == "cam" else None)


@pytest.mark.parametrize("method", sorted(METHODS))
def test_every_method(tmp_path, method):
    """CAM and MCTformer on a transformer, whose patches do not divide the size."""
    settings = dataclasses.asdict(METHODS[method]())
    model = dataclasses.replace(
        CLASSIFIER, head={"name": method, "settings": settings}, scales=(0.75,)
    )
    if method in ("cam", "mctformer"):
        model = dataclasses.replace(model, **ON_TRANSFORMER)
    network = hfpl_jax.load(write_training(tmp_path, "train", model))
    images = photographs(2)
    made = jax.jit(exported(network, SIZE).call)(images)
    # Random maps are next to 0, and a division by their maximum enlarges the rounding.
    np.testing.assert_allclose(made, np.stack(cams(network, images)), atol=5e-5)
    assert np.ptp(made) > 0.5


@pytest.mark.parametrize("head", ["deeplab_v1", "ocr"])
def test_every_head(tmp_path, head):
    """As `predict` looks, which pads the photographs of a batch."""
    model = dataclasses.replace(FINAL, head={"name": head, "settings": {}}, scales=(0.75,))
    network = hfpl_jax.load(write_training(tmp_path, "segmentation", model))
    images = photographs(2)
    made = jax.jit(exported(network, SIZE).call)(images)
    np.testing.assert_allclose(made, np.stack(probabilities(network, images)), atol=5e-5)
    assert made.std(axis=(0, 1, 2)).max() > 0.05


@dataclasses.dataclass(frozen=True)
class OnTheHost(Cam):
    def merge(self, maps, classes, scaled_sizes, size, output_stride):
        return np.maximum(super().merge(maps, classes, scaled_sizes, size, output_stride), 0.5)


def test_a_method_that_merges_in_numpy_alone_is_a_sentence(workdir):
    network = dataclasses.replace(hfpl_jax.load(workdir, "cam"), method=OnTheHost())
    with pytest.raises(InputError, match=r"The cam of .* its `merge` takes arrays of NumPy alone"):
        exported(network, SIZE)


SLIPS = {
    "no run": (["--run=nowhere"], "There is no folder nowhere"),
    "an unfinished run": (["--run=empty"], "empty holds no finished training."),
    "no size": (["--size="], "--size is missing: it names height and width"),
    "one side": (["--size=48"], "--size=48 must be two positive numbers"),
    "a side of 0": (["--size=0,48"], "--size=0,48 must be two positive numbers"),
    "a negative side": (["--size=48,-48"], "--size=48,-48 must be two positive numbers"),
    "a small side": (
        ["--size=57,9"],
        "the network looks at 43 x 7 pixels at its smallest scale, but sees cells of 8 x 8.",
    ),
    "a large side": (["--size=20000,20000"], "has more than 100 million pixels"),
    "an existing file": (["--output=there"], "--output=there would replace there, which exists"),
    "a folder": (["--output=empty"], "--output=empty would replace empty, which exists"),
    "a description": (["--output=its"], "--output=its would replace its.json, which exists"),
    "a network": (["--network=cams"], "must be one of segmentation, cam (did you mean 'cam'?)."),
    "an option": (["--sizes=1,2"], "Unknown option --sizes (did you mean 'size'?)"),
    "a word": (["here"], "Unknown argument 'here'."),
}


@pytest.fixture
def refused(workdir, tmp_path, monkeypatch, capsys):
    """What is said, in one line, of a command that ends with status 2."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    for name in ("there", "its.json"):
        (tmp_path / name).touch()
    usual = {"run": str(workdir), "size": "41,57", "output": "new"}

    def call(*changed):
        named = {argument.partition("=")[0][2:] for argument in changed}
        kept = [f"--{name}={value}" for name, value in usual.items() if name not in named]
        with pytest.raises(SystemExit) as ended:
            export_model.main([*kept, *changed])
        assert ended.value.code == 2
        assert {path.name for path in tmp_path.iterdir()} == {"empty", "there", "its.json"}
        said = capsys.readouterr().err.split("\nhfpl_jax: ")[-1]
        assert said.count("\n") == 1
        return said

    return call


@pytest.mark.parametrize("slip", SLIPS)
def test_a_slip_is_a_sentence(refused, slip):
    changed, sentence = SLIPS[slip]
    assert sentence in refused(*changed)


def test_without_flatbuffers(refused, monkeypatch):
    monkeypatch.setitem(sys.modules, "flatbuffers", None)
    assert "flatbuffers, which is missing. Install it: pip install" in refused()
