"""Run by test_tensorflow_reads.py: reads two exports with TensorFlow, the second with
its photographs decoded, and writes what it found, example by example, to an npz file.

python read_with_tensorflow.py DIRECTORY DIRECTORY OUTPUT
"""

import glob
import sys

import numpy as np
import tensorflow as tf
import tensorflow_datasets as tfds


def read_with_tf_data(directory):
    features = {
        "file_name": tf.io.FixedLenFeature([], tf.string),
        "image": tf.io.FixedLenFeature([], tf.string),
        "labels": tf.io.VarLenFeature(tf.int64),
        "segmentation_mask": tf.io.FixedLenFeature([], tf.string),
        "confidence": tf.io.FixedLenFeature([], tf.string),
        "height": tf.io.FixedLenFeature([], tf.int64),
        "width": tf.io.FixedLenFeature([], tf.int64),
    }
    for record in tf.data.TFRecordDataset(sorted(glob.glob(f"{directory}/*.tfrecord-*"))):
        example = tf.io.parse_single_example(record, features)
        example["labels"] = tf.sparse.to_dense(example["labels"])
        for name in ("segmentation_mask", "confidence"):
            example[name] = tf.io.decode_png(
                example[name], channels=0
            )  # as many channels as the file has
        yield {name: value.numpy() for name, value in example.items()}


def read_with_tfds(directory, decoders=None):
    builder = tfds.builder_from_directory(directory)
    yield from tfds.as_numpy(
        builder.as_dataset(split="train", decoders=decoders, shuffle_files=False)
    )


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
            # Bytes as numbers: NumPy's own byte strings drop trailing zeros.
            arrays[f"{reader}/{i}/{name}"] = (
                np.frombuffer(value, np.uint8) if isinstance(value, bytes) else np.asarray(value)
            )
np.savez(output, **arrays)
