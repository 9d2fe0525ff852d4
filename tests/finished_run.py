"""The workdir of a run whose trainings are finished, without training: two small
networks of random numbers, and photographs for them.
"""

import json

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
from PIL import Image

from hfpl_jax.methods import METHODS
from hfpl_jax.model_file import CAM, SEGMENTATION, Model, write_model
from hfpl_jax.models.backbones import BACKBONES
from hfpl_jax.models.backbones.resnet import ResNet
from hfpl_jax.models.segmentation_network import SegmentationNetwork
from hfpl_jax.runtime.manifest import want, write_manifest
from hfpl_jax.training.checkpoint import open_manager

CLASSES = ("cat", "dog", "traffic light")
STRIDE = 8
SIZES = [(40, 56), (56, 40), (48, 48), (40, 56), (33, 47), (56, 40), (40, 56)]

BACKBONE = {
    "name": "resnet18",
    "settings": {"output_stride": STRIDE, "version": "v1.5", "dilation": "exact", "width": 8},
    "dtype": "float32",
}
TRANSFORMER = {
    "name": "deit_tiny16",
    "settings": {"depth": 3, "drop_path": 0.0},
    "dtype": "float32",
}
"""In the place of `BACKBONE`: of MCTformer, or of CAM."""
ON_TRANSFORMER = {"backbone": TRANSFORMER, "output_stride": 16}
CRF = {"algorithm": "lattice", "iterations": 2, "sxy": 20.0, "srgb": 5.0, "weight": 4.0}
SHARED = {
    "class_names": CLASSES,
    "backbone": BACKBONE,
    "output_stride": STRIDE,
    "scales": (0.75, 1.0),
    "long_side": 0,
    "flip": True,
    "batch_size": 3,
    "padded_shapes": 2,
}
CLASSIFIER = Model(
    network=CAM,
    head={"name": "cam", "settings": {"pooling": "mean"}},
    crf=CRF,
    threshold=0.4,
    threshold_rule="best mIoU on the masks of training photographs",
    image_labels="given image labels",
    class_cut=0.5,
    class_cut_f1=0.75,
    **SHARED,
)
FINAL = Model(network=SEGMENTATION, head={"name": "deeplab_v2", "settings": {}}, **SHARED)


def modules(method="cam", transformer=False, head="deeplab_v2"):
    """The networks of the two trainings, by the name of their stage; the classifier's on a
    transformer.
    """
    backbone, own = ResNet(18, STRIDE, width=8), METHODS[method]()
    seen_by = backbone
    if transformer:
        entry = BACKBONES[TRANSFORMER["name"]]
        seen_by = entry.network(entry.settings(**TRANSFORMER["settings"]))
    return {
        "train": own.network(seen_by, len(CLASSES), frozen_batch_norm=True, dropout=0.0),
        "segmentation": SegmentationNetwork(backbone, len(CLASSES), head=head),
    }


def variables_of(stage, method="cam", transformer=False, head="deeplab_v2"):
    """Random; those of the final network such that its masks hold several classes."""
    images = jnp.zeros((1, 32, 32, 3))
    network = modules(method, transformer, head)[stage]
    variables = jax.jit(network.init)(jax.random.key(1), images)
    if stage == "segmentation":
        layers = variables["params"]["head"]
        last = {name: layers[name] for name in layers if "dilation" in name or name == "classifier"}
        layers |= jax.tree.map(lambda leaf: 30.0 * leaf, last)
    return variables


def write_training(workdir, stage, model, variables=None):
    fingerprint = {"train": "0a", "segmentation": "0b"}[stage]
    folder = workdir / stage / fingerprint
    folder.mkdir(parents=True)
    method = model.head["name"] if model.network == CAM else "cam"
    head = model.head["name"] if model.network == SEGMENTATION else "deeplab_v2"
    variables = variables or variables_of(stage, method, model.backbone == TRANSFORMER, head)
    with open_manager(folder, every_steps=1, keep=1) as manager:
        manager.save(1, args=ocp.args.StandardSave(variables))
    write_manifest(folder, {"stage": stage, "fingerprint": fingerprint, "done": True})
    write_model(folder, model)
    want(workdir, stage, fingerprint)
    return folder


def write_run(workdir):
    write_training(workdir, "train", CLASSIFIER)
    write_training(workdir, "segmentation", FINAL)


def photographs():
    """Of smooth colours, that differ; uint8 [h, w, 3]."""
    rng = np.random.default_rng(0)
    return [
        np.asarray(Image.fromarray(rng.integers(0, 256, (5, 5, 3), np.uint8)).resize(size[::-1], 3))
        for size in SIZES
    ]


def write_photographs(folder):
    """a/0.png, 1.png, ...; one of seven in a folder below."""
    (folder / "a").mkdir(parents=True)
    for index, pixels in enumerate(photographs()):
        Image.fromarray(pixels).save(folder / name_of(index))
    return folder


def name_of(index):
    return "a/0.png" if index == 0 else f"{index}.png"


LABELS = [("cat",), ("dog", "traffic light"), (), ("traffic light",), ("dog",), ("cat", "dog"), ()]


def write_labels(path, labels=LABELS):
    rows = [f"{name_of(i)},{';'.join(shown) or 'background'}" for i, shown in enumerate(labels)]
    path.write_text("\n".join(["file_name,labels", *rows]) + "\n")
    return path


def change(path, **fields):
    """Of a JSON file."""
    path.write_text(json.dumps({**json.loads(path.read_text()), **fields}))
