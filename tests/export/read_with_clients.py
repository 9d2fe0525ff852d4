"""Run by test_clients.py: reads exports with programs of others, and writes the arrays
that it found, name by name, to an npz file.

python read_with_clients.py CLIENT FOLDER OUTPUT
"""

import glob
import io
import pathlib
import sys

import numpy as np


def read_with_datasets(folder):
    from datasets import load_dataset

    for name, split in load_dataset(str(folder / "parquet")).items():
        yield f"{name}/classes", split.features["labels"].feature.names
        for row in split:
            place = f"{name}/{row['file_name']}"
            yield f"{place}/labels", np.asarray(row["labels"], np.int64)
            yield f"{place}/image", np.asarray(row["image"].convert("RGB"))
            yield f"{place}/mask", np.asarray(row["segmentation_mask"])
            yield f"{place}/confidence", np.asarray(row["confidence"])


def read_with_datumaro(folder):
    from datumaro.components.dataset import Dataset

    dataset = Dataset.import_from(str(folder / "voc"), "voc_segmentation")
    labels = [label.name for label in dataset.categories()[_kind("label")]]
    yield "train/classes", labels[1:-1]  # between background and ignored
    for item in dataset.get_subset("train"):
        mask = np.zeros(item.media.data.shape[:2], np.uint8)
        for annotation in item.annotations:
            value = annotation.label if labels[annotation.label] != "ignored" else 255
            mask[np.asarray(annotation.image, bool)] = value
        yield f"train/{item.id}/mask", mask


def _kind(name):
    from datumaro.components.annotation import AnnotationType

    return AnnotationType[name]


def read_with_supervision(folder):
    from supervision import DetectionDataset

    yolo, coco = folder / "yolo", folder / "coco"
    found = {
        "yolo": DetectionDataset.from_yolo(
            str(yolo / "images/train"), str(yolo / "labels/train"), str(yolo / "data.yaml")
        ),
        "coco": DetectionDataset.from_coco(
            str(coco / "images/train"), str(coco / "train.json"), force_masks=True
        ),
    }
    for format, dataset in found.items():
        yield f"{format}/classes", dataset.classes
        for path, image, detections in dataset:
            mask = np.zeros(image.shape[:2], np.uint8)
            for region, label in zip(detections.mask, detections.class_id, strict=True):
                mask[region] = label + 1
            yield f"{format}/{pathlib.Path(path).name}/mask", mask


def read_with_tfrecord(folder):
    from PIL import Image
    from tfrecord.torch.dataset import TFRecordDataset
    from torch.utils.data import DataLoader

    kinds = {"file_name": "byte", "image": "byte", "segmentation_mask": "byte", "labels": "int"}
    for path in sorted(glob.glob(f"{folder}/tfrecord/*.tfrecord-*")):
        for record in DataLoader(TFRecordDataset(path, None, kinds), batch_size=None):
            name = bytes(record["file_name"]).decode()
            with Image.open(io.BytesIO(bytes(record["segmentation_mask"]))) as mask:
                yield f"train/{name}/mask", np.asarray(mask)
            with Image.open(io.BytesIO(bytes(record["image"]))) as image:
                yield f"train/{name}/image", np.asarray(image.convert("RGB"))
            yield f"train/{name}/labels", np.asarray(record["labels"], np.int64)


client, place, output = sys.argv[1:]
read = {
    "datasets": read_with_datasets,
    "datumaro": read_with_datumaro,
    "supervision": read_with_supervision,
    "tfrecord": read_with_tfrecord,
}[client]
np.savez(output, **{name: np.asarray(value) for name, value in read(pathlib.Path(place))})
