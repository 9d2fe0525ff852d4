"""ImageNet weights on real photographs: the network names the animals. Skipped where
weights or VOC 2012 are not at hand.
"""

import os
import pathlib
from xml.etree import ElementTree

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from hfpl_jax.models.backbones.resnet import ResNet
from hfpl_jax.models.cam_network import CamNetwork
from hfpl_jax.models.pretrained import load_backbone
from hfpl_jax.models.weights.read import read_weights

DATA = pathlib.Path(
    os.environ.get("HFPL_DATA", pathlib.Path(__file__).parents[2] / ".." / "shared")
)
WEIGHTS = DATA / "weights" / "resnet50_v1_imagenet.safetensors"
VOC = DATA / "data" / "VOCdevkit" / "VOC2012"

# Classes of ImageNet-1k that are a dog (118 breeds), or a domestic cat.
IMAGENET = {"dog": set(range(151, 269)), "cat": set(range(281, 286))}
PHOTOGRAPHS = 20  # of each animal

pytestmark = [
    pytest.mark.skipif(
        not (WEIGHTS.is_file() and VOC.is_dir()),
        reason="set HFPL_DATA to a folder with weights/ and data/VOCdevkit",
    ),
    pytest.mark.slow,
]


def photographs_with_only(animal):
    found = []
    for annotation in sorted((VOC / "Annotations").glob("*.xml")):
        names = {entry.findtext("name") for entry in ElementTree.parse(annotation).iter("object")}
        if names == {animal}:
            found.append(VOC / "JPEGImages" / f"{annotation.stem}.jpg")
        if len(found) == PHOTOGRAPHS:
            break
    return found


def square(path, size=224):
    image = Image.open(path).convert("RGB")
    scale = 256 / min(image.size)
    image = image.resize([round(side * scale) for side in image.size], Image.Resampling.BILINEAR)
    left, top = ((side - size) // 2 for side in image.size)
    pixels = np.asarray(image.crop((left, top, left + size, top + size)), np.float32) / 255
    return (pixels - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]


@pytest.fixture(scope="module")
def top_five():
    network = CamNetwork(ResNet(50, 32, "v1"), num_classes=1000)
    variables = jax.eval_shape(
        network.init, jax.random.key(0), jax.ShapeDtypeStruct((1, 224, 224, 3), jnp.float32)
    )
    variables = load_backbone(WEIGHTS, variables, network.backbone)
    classifier = read_weights(WEIGHTS)
    variables["params"]["head"]["kernel"] = classifier["fc.weight"].T.astype(np.float32)

    def scores(
        images,
    ):  # the classifier on averaged features = the average of its scores at every position
        return network.apply(variables, images).logits.mean((1, 2)) + classifier["fc.bias"]

    scores = jax.jit(scores)
    return lambda paths: np.argsort(
        -scores(jnp.asarray(np.stack([square(path) for path in paths]), jnp.float32))
    )[:, :5]


@pytest.mark.parametrize("animal", ["dog", "cat"])
def test_the_animal_is_in_the_top_five(top_five, animal):
    paths = photographs_with_only(animal)
    assert len(paths) == PHOTOGRAPHS
    hits = [bool(IMAGENET[animal] & set(map(int, classes))) for classes in top_five(paths)]
    assert np.mean(hits) >= 0.75
