"""Padding changes nothing on real photographs of twenty sizes, and a few padded shapes
are all that is compiled.

What each photograph gives alone is computed in NumPy: to compile a network for each of
forty sizes would take minutes, and to run it operation by operation too, as these are
compiled for every size as well.
"""

import contextlib
import functools
import io
import logging
import multiprocessing
import os
import pathlib
from collections.abc import Sequence
from concurrent import futures

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image
from unpadded_oracles import affinity_features, cam_logits, enlarged, normalised, walked

from hfpl_jax.data.dataset import Example
from hfpl_jax.data.transforms.affinity_labels import average_pool
from hfpl_jax.inference.cam_record import CamRecord
from hfpl_jax.inference.cams import make_cam_function
from hfpl_jax.inference.multi_scale import MultiScale, photograph_sizes, write_records
from hfpl_jax.inference.padding import plan_shapes
from hfpl_jax.methods.cam import Cam
from hfpl_jax.methods.seam import Seam
from hfpl_jax.models.affinity_network import AffinityNetwork
from hfpl_jax.models.backbones.resnet import ResNet
from hfpl_jax.models.cam_network import CamNetwork
from hfpl_jax.models.pretrained import load_backbone
from hfpl_jax.models.seam_network import SeamNetwork
from hfpl_jax.models.weights.read import read_weights
from hfpl_jax.refine.background import background_score
from hfpl_jax.refine.on_device import on_device
from hfpl_jax.refine.refiner import Refined
from hfpl_jax.refine.walk import Affinity, RandomWalk, WalkCrf
from hfpl_jax.runtime.records import RecordReader

DATA = pathlib.Path(
    os.environ.get("HFPL_DATA", pathlib.Path(__file__).parents[2] / ".." / "shared")
)
WEIGHTS = DATA / "weights" / "resnet50_v1_imagenet.safetensors"
VOC = DATA / "data" / "VOCdevkit" / "VOC2012"

pytestmark = [
    pytest.mark.skipif(
        not (WEIGHTS.is_file() and VOC.is_dir()),
        reason="set HFPL_DATA to a folder with weights/ and data/VOCdevkit",
    ),
    pytest.mark.slow,
]

PHOTOGRAPHS, SHRUNK = 20, 0.256  # most have a long side of 500 pixels, which becomes 128
SHAPES = 3
SETTINGS = MultiScale(scales=(0.5, 1.0), long_side=None, flip=True, batch_size=4)
CELL = 8
NUM_CLASSES, MOST_IN_A_PHOTOGRAPH = 20, 3
TOLERANCE = 1e-4  # of the largest value


class Scores(RandomWalk):
    """The walked scores, not yet masks."""

    def refine(self, batch, apply=None):
        scores = self.walked(batch, apply)
        return Refined(scores, scores)


WALK = Scores(crf=WalkCrf(), affinity=Affinity(), alpha=6.0, beta=8, steps=64)


class Photographs(Sequence):
    """The first twenty of VOC's photographs that are of different sizes when shrunk:
    landscapes, portraits and a square.
    """

    name = "photographs"

    def __init__(self):
        by_size = {}
        for path in sorted((VOC / "JPEGImages").glob("*.jpg")):
            with Image.open(path) as image:
                size = tuple(round(side * SHRUNK) for side in image.size)
                if size not in by_size:
                    by_size[size] = np.asarray(
                        image.convert("RGB").resize(size, Image.Resampling.BICUBIC)
                    )
            if len(by_size) == PHOTOGRAPHS:
                break
        self.pixels = list(by_size.values())

    def __len__(self):
        return len(self.pixels)

    def __getitem__(self, index):
        pixels, png = self.pixels[range(len(self))[index]], io.BytesIO()
        Image.fromarray(pixels).save(png, "PNG")
        labels = np.arange(index % MOST_IN_A_PHOTOGRAPH + 1)
        return Example(f"{index}.png", png.getvalue(), labels, None, *pixels.shape[:2])


def pretrained(network, **factors):
    """ImageNet's backbone under random heads, of which some are multiplied by a
    factor.
    """
    abstract = jax.eval_shape(
        network.init, jax.random.key(0), jax.ShapeDtypeStruct((1, 32, 32, 3), jnp.float32)
    )
    rng = np.random.default_rng(0)
    for name, head in abstract["params"].items():
        if name != "backbone":
            shape = head["kernel"].shape
            head["kernel"] = rng.normal(0, factors.get(name, 1.0) * shape[0] ** -0.5, shape).astype(
                np.float32
            )
    return load_backbone(WEIGHTS, abstract, network.backbone)


# What follows is cached, as the tests and every process of the oracle use it.


@functools.cache
def photographs():
    split = Photographs()
    assert len({pixels.shape for pixels in split.pixels}) == PHOTOGRAPHS
    return split


@functools.cache
def seam():
    """The network of SEAM and its variables, among them all that CAM's has; its classes
    are twenty of ImageNet's.
    """
    network = SeamNetwork(ResNet(50, 16, "v1"), NUM_CLASSES)
    variables = pretrained(network)
    variables["params"]["head"]["kernel"] = read_weights(WEIGHTS)["fc.weight"][
        :: 1000 // NUM_CLASSES
    ].T.astype(np.float32)
    return network, variables


@functools.cache
def affinity():
    """AffinityNet and its variables."""
    network = AffinityNetwork(ResNet(50, CELL, "v1"))
    return network, pretrained(
        network, embed=0.05
    )  # else no two pixels are alike, and nothing walks


def logits_alone(index):
    """(CAM's, SEAM's) logits of a photograph, both views together, at each scale."""

    def at(scale):
        pixels = photographs().pixels[index]
        size = [round(side * scale) for side in pixels.shape[:2]]
        scaled = normalised(
            np.asarray(Image.fromarray(pixels).resize(size[::-1], Image.Resampling.BICUBIC))
        )
        views = zip(
            cam_logits(scaled, seam()[1]), cam_logits(scaled[:, ::-1], seam()[1]), strict=True
        )
        return [view + mirrored[:, ::-1] for view, mirrored in views]

    return [at(scale) for scale in SETTINGS.scales]


def walk_alone(index):
    """The scores a photograph's walk begins and ends with, at the resolution of the
    cells, and the latter at the photograph's.
    """
    pixels, cell = photographs().pixels[index], CELL
    height, width, _ = pixels.shape
    # As published, the photograph is completed to whole cells with the mean colour, and
    # the network sees that as part of it.
    image = np.pad(normalised(pixels), ((0, -height % cell), (0, -width % cell), (0, 0)))
    start = average_pool(
        background_score(CamRecord.decode(cam_record(index)).cams, WALK.alpha), cell
    )
    end = walked(affinity_features(image, affinity()[1], cell), start, WALK.beta, WALK.steps)
    return start, end, enlarged(end, cell)[:height, :width]


def cam_record(index):
    """CAMs of a few blobs."""
    example, rng = photographs()[index], np.random.default_rng(index)
    blobs = [
        Image.fromarray(rng.random((4, 5), np.float32)).resize((example.width, example.height))
        for _ in example.labels
    ]
    cams = np.clip(np.stack([np.asarray(blob) for blob in blobs], axis=-1), 0, 1)
    return CamRecord(index, example.file_name, example.labels, example.labels, cams).encode()


@pytest.fixture(scope="module")
def alone():
    """`alone(function)` -> its results for all photographs, from processes of one
    thread each.

    A matrix product on several threads spins where other work runs beside it, and then
    takes forty times as long.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OPENBLAS_NUM_THREADS", "1")
        with futures.ProcessPoolExecutor(2, multiprocessing.get_context("spawn")) as pool:
            yield lambda function: pool.map(function, range(PHOTOGRAPHS))


@pytest.fixture
def mesh():
    return jax.make_mesh(
        (1,), ("data",), axis_types=(jax.sharding.AxisType.Auto,), devices=jax.devices()[:1]
    )


@pytest.fixture
def compiled(caplog):
    """`with compiled("name") as programs:` notes the programs that JAX compiles for a
    jitted function of this name.
    """

    @contextlib.contextmanager
    def noted(name):
        programs = []
        caplog.clear()
        with caplog.at_level(logging.WARNING), jax.log_compiles():
            yield programs
        programs += [
            message for message in caplog.messages if message.startswith(f"Compiling jit({name})")
        ]

    return noted


def assert_close(padded, expected):
    assert padded.shape == expected.shape
    assert np.abs(padded - expected).max() <= TOLERANCE * np.abs(expected).max()


@pytest.mark.parametrize("name", ["cam", "seam"])
def test_logits(name, alone, mesh, compiled, tmp_path):
    expected = alone(logits_alone)
    (network, variables), method = seam(), Seam()
    if name == "cam":
        network, method = CamNetwork(network.backbone, NUM_CLASSES), Cam()
        variables = {
            **variables,
            "params": {part: variables["params"][part] for part in ("backbone", "head")},
        }
    sizes = photograph_sizes(photographs(), SETTINGS)
    shapes = plan_shapes(np.asarray(list(sizes.values())), SHAPES)
    with compiled("logits") as programs:
        write_records(
            photographs(),
            make_cam_function(network, method, mesh, image_labels="given"),
            variables,
            tmp_path,
            merge=lambda index, example, maps, _: {
                "index": index,
                "file_name": example.file_name,
                "half": maps[0],
                "whole": maps[1],
            },
            settings=SETTINGS,
            sizes=sizes,
            shapes=shapes,
            output_stride=16,
            mesh=mesh,
            shard_size=PHOTOGRAPHS,
            title="logits",
        )
    assert len(programs) == len(shapes) * len(SETTINGS.scales) == 2 * SHAPES
    records = {record["index"]: record for record in RecordReader(tmp_path)}
    assert sorted(records) == list(range(PHOTOGRAPHS))
    for index, scales in enumerate(expected):
        for field, of_methods in zip(("half", "whole"), scales, strict=True):
            assert_close(records[index][field], of_methods[name == "seam"])


class Pairs(list):
    """CAM records, each with its photograph."""

    @property
    def records(self):
        return [record for record, _ in self]


def test_walk(alone, mesh, compiled):
    expected = alone(walk_alone)
    network, variables = affinity()
    pairs = Pairs((cam_record(index), example) for index, example in enumerate(photographs()))
    with compiled("refine") as programs:
        walk = on_device(
            WALK,
            {"photographs": pairs},
            threshold=0.2,
            batch_size=4,
            padded_shapes=SHAPES,
            mesh=mesh,
            network=network,
            variables=variables,
        )
        scores = {
            record.index: made.mask[..., : 1 + len(record.classes)]
            for record, made in walk("photographs", set())
        }
    assert len(programs) == SHAPES
    assert sorted(scores) == list(range(PHOTOGRAPHS))
    for index, (start, end, enlarged_end) in enumerate(expected):
        assert np.abs(end - start).max() > 0.1
        assert_close(scores[index], enlarged_end)
