"""What a record of a prepared dataset holds, as TFDS describes and takes it."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from hfpl_jax.data.example import Example, encode_mask
from hfpl_jax.instance import Instance
from hfpl_jax.masks import IGNORE


def example_features(class_names: Sequence[str]) -> tfds.features.FeaturesDict:
    """Features of every dataset here; images and masks are handed over encoded, so
    TensorFlow is not needed.
    """
    return tfds.features.FeaturesDict(
        {
            "file_name": tfds.features.Text(),
            "image": tfds.features.Image(shape=(None, None, 3)),
            "labels": tfds.features.Sequence(tfds.features.ClassLabel(names=list(class_names))),
            "segmentation_mask": tfds.features.Image(
                shape=(None, None, 1), encoding_format="png", use_colormap=True
            ),
            "has_mask": tfds.features.Scalar(np.bool_),
            "instances": tfds.features.Sequence(
                {
                    "label": tfds.features.ClassLabel(names=list(class_names)),
                    "counts": tfds.features.Text(),  # COCO's run-length code of height x width
                    "crowd": tfds.features.Scalar(np.bool_),
                }
            ),
            "has_instances": tfds.features.Scalar(np.bool_),
            "height": tfds.features.Scalar(np.int32),
            "width": tfds.features.Scalar(np.int32),
        }
    )


def features_of(example: Example) -> dict[str, Any]:
    """The content of an example's record; a mask that is not there is ignored
    throughout.
    """
    mask = example.segmentation_mask
    if mask is None:
        mask = encode_mask(np.full((example.height, example.width), IGNORE, np.uint8))
    return {
        "file_name": example.file_name,
        "image": example.image,
        "labels": [int(label) for label in example.labels],
        "segmentation_mask": mask,
        "has_mask": example.segmentation_mask is not None,
        "instances": [
            {"label": one.label, "counts": one.segmentation["counts"], "crowd": one.crowd}
            for one in example.instances or ()
        ],
        "has_instances": example.instances is not None,
        "height": example.height,
        "width": example.width,
    }


def instances_of(record: Mapping[str, Any]) -> tuple[Instance, ...] | None:
    """The true instances in a record that was read; None where it does not have them:
    those of older datasets and of exports say nothing about it. Masks are
    not checked: a training reads records by the million, and no mask of them.
    """
    if not record.get("has_instances", False):
        return None
    size, listed = [int(record["height"]), int(record["width"])], record["instances"]
    return tuple(
        Instance(int(label), {"size": size, "counts": counts.decode()}, crowd=bool(crowd))
        for label, counts, crowd in zip(
            listed["label"], listed["counts"], listed["crowd"], strict=True
        )
    )
