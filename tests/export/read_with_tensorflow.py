"""Run by test_tensorflow_reads.py: reads two exports with TensorFlow, the second with
its photographs decoded, and writes what it found, example by example, to an npz file.

python read_with_tensorflow.py DIRECTORY DIRECTORY OUTPUT
"""

import glob
import sys

import numpy as np
import tensorflow as tf
import tensorflow_datasets as tfds

INSTANCES = {"label": tf.int64, "counts": tf.string, "score": tf.float32, "peak": tf.int64}


def read_with_tf_data(directory):
    features = {
        "file_name": tf.io.FixedLenFeature([], tf.string),
        "image": tf.io.FixedLenFeature([], tf.string),
        "labels": tf.io.VarLenFeature(tf.int64),
        "segmentation_mask": tf.io.FixedLenFeature([], tf.string),
        "confidence": tf.io.FixedLenFeature([], tf.string),
        "height": tf.io.FixedLenFeature([], tf.int64),
        "width": tf.io.FixedLenFeature([], tf.int64),
        **{f"instances/{name}": tf.io.VarLenFeature(kind) for name, kind in INSTANCES.items()},
    }
    for record in tf.data.TFRecordDataset(sorted(glob.glob(f"{directory}/*.tfrecord-*"))):
        example = tf.io.parse_single_example(record, features)
        for name in ("labels", *(f"instances/{name}" for name in INSTANCES)):
            example[name] = tf.sparse.to_dense(example[name])
        for name in ("segmentation_mask", "confidence"):
            example[name] = tf.io.decode_png(
                example[name], channels=0
            )  # as many channels as the file has
        yield {name: value.numpy() for name, value in example.items()}


def read_with_tfds(directory, decoders=None):
    builder = tfds.builder_from_directory(directory)
    for example in tfds.as_numpy(
        builder.as_dataset(split="train", decoders=decoders, shuffle_files=False)
    ):
        instances = example.pop("instances", {})
        yield {**example, **{f"instances/{name}": values for name, values in instances.items()}}


def plain(value):
    """Bytes as numbers: NumPy's own byte strings drop trailing zeros. Of several, each
    ends with a zero.
    """
    if isinstance(value, np.ndarray) and value.dtype == object:
        value = b"".join(each + b"\0" for each in value)
    return np.frombuffer(value, np.uint8) if isinstance(value, bytes) else np.asarray(value)


whole, odd, output = sys.argv[1:]
read = {
    "tf.data": read_with_tf_data(whole),
    "tfds": read_with_tfds(whole, {"image": tfds.decode.SkipDecoding()}),
    "decoded": read_with_tfds(odd),
}
arrays = {}
for reader, examples in read.items():
    for i, example in enumerate(examples):
        for name, value in example.items():
            arrays[f"{reader}/{i}/{name}"] = plain(value)
np.savez(output, **arrays)
