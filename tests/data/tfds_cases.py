"""Run by test_tfds_cases.py: TFDS's own tests of a builder, over ours.

python tfds_cases.py FOLDER [CASE ...]
"""

import pathlib
import sys
import unittest
from unittest import mock

import tensorflow as tf
import tensorflow_datasets as tfds
from tiny_datasets import box, jpeg, make_coco, make_folder, make_voc, write

from hfpl_jax.data.coco_seg import CocoSeg
from hfpl_jax.data.folder import Folder
from hfpl_jax.data.scenes import Scenes
from hfpl_jax.data.voc_seg import VocSeg

ROOT = pathlib.Path(sys.argv.pop(1))


class Case(tfds.testing.DatasetBuilderTestCase):
    """Files are read by pathlib, which reads no gs://; nothing is downloaded."""

    MOCK_OUT_FORBIDDEN_OS_FUNCTIONS = False
    EXAMPLE_DIR = str(ROOT)

    def _make_builder(self, config=None):
        return self.dataset_class(data_dir=self.tmp_dir, **self.OPTIONS)

    def _assertAsDataset(self, builder):
        """TFDS reads ArrayRecord as a data source alone; TensorFlow holds each of its
        examples against the types and shapes that the features state.
        """
        stated = tf.nest.map_structure(
            lambda info: tf.TensorSpec(info.shape, info.dtype),
            builder.info.features.get_tensor_info(),
        )

        def as_dataset(split):
            source = builder.as_data_source(split)
            return tf.data.Dataset.from_generator(lambda: iter(source), output_signature=stated)

        with mock.patch.object(builder, "as_dataset", as_dataset):
            super()._assertAsDataset(builder)


def case(builder, splits, **options):
    content = {"DATASET_CLASS": builder, "SPLITS": splits, "OPTIONS": options}
    return type(builder.__name__, (Case,), content)


SPLITS = {"train": 2, "val": 1}
TestVoc = case(VocSeg, SPLITS, root=str(ROOT / "voc"))
TestCoco = case(CocoSeg, SPLITS, root=str(ROOT / "coco"))
TestFolder = case(Folder, SPLITS, root=str(ROOT / "photos"))
TestFolders = case(Folder, {"train": 2}, root=str(ROOT / "folders"), labels="folders")
TestScenes = case(Scenes, SPLITS, train_size=2, val_size=1, size=48)
del Case  # which has no builder


if __name__ == "__main__":
    voc = {"train": {"1": ("cat",), "2": ("dog", "sofa")}, "val": {"3": ("cow",)}}
    make_voc(ROOT / "voc" / "VOC2012", voc)
    square = {"category_id": 1, "segmentation": box(2, 2, 9, 9)}
    make_coco(ROOT / "coco", "train", {1: [square], 2: [square]})
    make_coco(ROOT / "coco", "val", {3: [square]})
    rows = "file_name,labels,split\n1.jpg,cat,train\n2.jpg,dog,train\n3.jpg,background,val\n"
    make_folder(ROOT / "photos", rows, ("1.jpg", "2.jpg", "3.jpg"))
    for seed, name in enumerate(("cat/1.jpg", "dog/1.jpg")):
        write(ROOT / "folders" / name, jpeg(seed))
    unittest.main(verbosity=2)
