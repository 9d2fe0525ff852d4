"""SIPE with both losses through every stage, on tiny scenes and from random weights."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from end_to_end import tiny

import hfpl_jax
from hfpl_jax import pipeline
from hfpl_jax.build import build_network, trained_variables
from hfpl_jax.data.dataset import Dataset, decode_image, decode_mask
from hfpl_jax.data.transforms.resample import resize
from hfpl_jax.inference.cam_record import CamRecord
from hfpl_jax.inference.padding import scaled_size
from hfpl_jax.losses import attention, explored_cam
from hfpl_jax.masks import label_map
from hfpl_jax.methods.sipe import Sipe
from hfpl_jax.models.preprocess import normalize
from hfpl_jax.runtime.manifest import result_folder
from hfpl_jax.runtime.records import RecordReader
from hfpl_jax.runtime.sharding import local_mesh
from hfpl_jax.training.metric_log import read_rows

pytestmark = pytest.mark.slow


def the_config():
    config = tiny(method__name="sipe")
    config.run.log_every = 1
    config.inference.scales = (1.0,)
    config.inference.flip = True
    config.run.cam_batch_size = 8
    return config


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sipe")
    pipeline.run(the_config(), folder)
    return folder


@pytest.fixture(scope="module")
def dataset(workdir):
    return Dataset(workdir / "data" / "scenes" / "1.0.0")


def record_of(workdir, file_name):
    records = map(CamRecord.decode, RecordReader(workdir / "cams" / "train"))
    return next(record for record in records if record.file_name == file_name)


def test_both_terms_and_both_losses_are_trained(workdir):
    for row in read_rows(result_folder(workdir / "train")):
        parts = (row[name] for name in ("classification", "consistency", "feature_similarity"))
        assert row["loss"] == pytest.approx(sum(parts), rel=1e-4)


def test_no_threshold_is_chosen(workdir):
    metrics = json.loads((workdir / "metrics" / "metrics.json").read_text())
    assert metrics["threshold"] == 0.5
    assert metrics["threshold_rule"] == "the method's own background"
    report = (workdir / "report" / "report.html").read_text()
    assert '<th>Method</th><td class="fact">SIPE</td>' in report
    assert "0.50: the method&#x27;s own background" in report


def test_cams_are_those_of_the_photograph_alone(workdir, dataset):
    """And its mirror image, neither in a padded batch."""
    network = build_network(the_config(), len(dataset.class_names))
    variables = trained_variables(network, workdir / "train", local_mesh(8, ""))
    example = dataset.split("train")[0]
    photograph = decode_image(example.image, example.file_name)
    size = scaled_size(photograph.shape[:2], 48 / max(photograph.shape[:2]))
    image, valid = resize(photograph, *size)[None], np.ones((1, *size), bool)
    forward = jax.jit(network.apply)
    plain, other = (
        forward(variables, normalize(jnp.asarray(each), valid))
        for each in (image, image[:, :, ::-1])
    )
    logits = plain.logits + other.logits[:, :, ::-1]
    hierarchy = plain.hierarchy + other.hierarchy[:, :, ::-1]
    scores = attention(logits)
    cams = explored_cam(hierarchy, scores, hierarchy, jnp.ones_like(scores))
    maps = [np.roll(cams[0], -1, axis=-1)]
    expected = Sipe().merge(maps, example.labels, [size], photograph.shape[:2], 16)
    record = record_of(workdir, example.file_name)
    np.testing.assert_allclose(record.cams, expected, atol=0.5 / 255 + 1e-3)


def test_the_labels_and_predict_are_the_same_masks(workdir, dataset):
    """Of a photograph, from its record and from the loaded network."""
    example = dataset.split("train")[1]
    record = record_of(workdir, example.file_name)
    mask = label_map(record.cams, record.classes, threshold=0.5)
    labels = {each["file_name"]: each for each in RecordReader(workdir / "labels" / "train")}[
        example.file_name
    ]
    np.testing.assert_array_equal(decode_mask(labels["mask"], example.file_name), mask)
    assert len(np.unique(decode_mask(labels["confidence"], example.file_name))) > 2
    network = hfpl_jax.load(workdir, "cam")
    photograph = decode_image(example.image, example.file_name)
    [made] = network.predict([photograph], [example.labels.tolist()])
    assert (made.mask == mask).mean() > 0.999
