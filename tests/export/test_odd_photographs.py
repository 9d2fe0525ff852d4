"""Photographs on which decoders disagree, from their files through preparation and
export: every reader sees the picture that the network sees.
"""

import io

import numpy as np
import pytest
import tensorflow_datasets as tfds
from PIL import Image
from pycocotools.coco import COCO
from tiny_datasets import config, make_folder, write, write_mask

from hfpl_jax.data.dataset import Dataset, decode_image
from hfpl_jax.data.prepare import prepare
from hfpl_jax.export import FORMATS, PseudoLabel, export

HEIGHT, WIDTH = 6, 8
COLOURS = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)
GRAY = np.repeat(COLOURS[..., :1], 3, axis=-1)
ALPHA = np.where(np.arange(WIDTH) < 4, 0, 255).astype(np.uint8)
ON_WHITE = np.where(ALPHA[:, None] == 0, 255, COLOURS).astype(np.uint8)
TWO = np.repeat(ALPHA[None, :, None], 3, -1)
INDEXED = Image.fromarray(COLOURS).quantize(9)
TURNED = Image.Exif()
TURNED[0x0112] = 6

ODD = {  # name -> what is saved, how, and what is seen
    "turned.png": (np.rot90(COLOURS), {"exif": TURNED}, COLOURS),
    "deep.png": (COLOURS[..., 0].astype(np.uint16) * 257, {}, GRAY),
    "alpha.png": (np.dstack([COLOURS, np.tile(ALPHA, (HEIGHT, 1))]), {}, ON_WHITE),
    "palette.png": (INDEXED, {}, np.asarray(INDEXED.convert("RGB"))),
    "folder/two.png": (Image.fromarray(ALPHA[None]).convert("1"), {}, TWO),
    "png.jpg": (COLOURS, {"format": "PNG"}, COLOURS),
    "gray.png": (COLOURS[..., 0], {}, GRAY),
}  # fmt: skip


def exported(folder, formats):
    """The pseudo-labels that exports of the odd photographs in all formats are made
    of.
    """
    root = make_folder(
        folder / "photos", "file_name,labels\n" + "".join(f"{name},cat\n" for name in ODD), ()
    )
    for name, (content, options, picture) in ODD.items():
        image = content if isinstance(content, Image.Image) else Image.fromarray(np.array(content))
        data = io.BytesIO()
        image.save(data, **{"format": "PNG", **options})
        write(root / name, data.getvalue())
        mask = np.zeros(picture.shape[:2])
        mask[0, -1] = 1  # as people draw it: on the upright picture
        write_mask((root / "masks" / name).with_suffix(".png"), mask)
    prepared = prepare(config("folder", root, options={"masks": "masks"}), folder / "data")
    labels = []
    for example in prepared.split("train"):
        assert (example.height, example.width) == ODD[example.file_name][2].shape[:2]
        mask = np.zeros((example.height, example.width), np.uint8)
        labels.append(PseudoLabel(example.file_name, example.image, (0,), mask))
    places = {format: folder / format for format in formats}
    export(labels, places, class_names=["cat"], split="train")
    return prepared.split("train")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("odd")
    return folder, exported(folder, FORMATS)


def opened(path):
    with Image.open(path) as image:
        assert image.mode in ("RGB", "L")  # nothing that a program could take in another way
        assert image.getexif().get(0x0112, 1) == 1
        return np.asarray(image.convert("RGB"))


def test_the_network_sees_the_upright_picture(made):
    for example in made[1]:
        picture = ODD[example.file_name][2]
        np.testing.assert_array_equal(decode_image(example.image, ""), picture, example.file_name)


def test_array_record_holds_it(made):
    directory = made[0] / "array_record"
    source = tfds.builder_from_directory(directory).as_data_source("train")  # as TFDS decodes it
    for record, example in zip(source, Dataset(directory).split("train"), strict=True):
        picture = ODD[example.file_name][2]
        np.testing.assert_array_equal(record["image"], picture)
        np.testing.assert_array_equal(decode_image(example.image, ""), picture)


@pytest.mark.parametrize(
    "images", ["png/train/images", "coco/images/train", "voc/JPEGImages", "yolo/images/train"]
)
def test_files_hold_it(made, images):
    for name, (_, _, picture) in ODD.items():
        np.testing.assert_array_equal(opened(made[0] / images / name), picture, name)


def test_sizes_in_coco_are_those_of_the_upright_picture(made):
    images = COCO(made[0] / "coco/train.json").imgs.values()
    sizes = {image["file_name"]: (image["height"], image["width"]) for image in images}
    assert sizes == {name: picture.shape[:2] for name, (_, _, picture) in ODD.items()}
