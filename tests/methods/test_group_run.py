"""Group-WSSS with both losses through every stage, on tiny scenes and from random
weights; killed, and resumed.
"""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from end_to_end import tiny

import hfpl_jax
from hfpl_jax import pipeline
from hfpl_jax.build import build_network, trained_variables
from hfpl_jax.data.dataset import Dataset, decode_mask
from hfpl_jax.data.transforms.resample import resize
from hfpl_jax.inference.cam_record import CamRecord
from hfpl_jax.inference.padding import scaled_size
from hfpl_jax.methods.group import Group
from hfpl_jax.models.preprocess import normalize
from hfpl_jax.runtime.manifest import result_folder
from hfpl_jax.runtime.records import RecordReader
from hfpl_jax.runtime.sharding import local_mesh
from hfpl_jax.training import loop
from hfpl_jax.training.metric_log import read_rows

pytestmark = pytest.mark.slow


def the_config():
    config = tiny(method__name="group")
    config.train.batch_size, config.train.epochs = 24, 2
    config.inference.scales, config.inference.flip = (1.0,), True
    config.run.cam_batch_size, config.run.log_every = 8, 1
    return config


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
    folder = tmp_path_factory.mktemp("group")
    pipeline.run(the_config(), folder)
    return folder


@pytest.fixture(scope="module")
def dataset(workdir):
    return Dataset(workdir / "data" / "scenes" / "1.0.0")


def test_an_epoch_has_a_group_for_each_photograph(workdir, dataset):
    rows = read_rows(result_folder(workdir / "train"))
    steps = 2 * (len(dataset.split("train")) * 3 // 24)
    assert [row["step"] for row in rows] == [*range(1, steps + 1)]
    for row in rows:
        expected = (
            0.5 * row["classification"]
            + 0.2 * row["classification_before"]
            + row["feature_similarity"]
        )
        assert row["loss"] == pytest.approx(expected, rel=1e-5)


def record_of(workdir, file_name):
    records = map(CamRecord.decode, RecordReader(workdir / "cams" / "train"))
    return next(record for record in records if record.file_name == file_name)


def test_cams_are_those_of_the_photograph_alone(workdir, dataset):
    """Its mirror image and a smaller one are its group; nothing is padded."""
    config = the_config()
    network = build_network(config, len(dataset.class_names))
    variables = trained_variables(network, workdir / "train", local_mesh(8, ""))
    example = dataset.split("train")[0]
    photograph = example.pixels()
    size = scaled_size(photograph.shape[:2], 48 / max(photograph.shape[:2]))
    scaled = resize(photograph, *size)[None]
    image = normalize(jnp.asarray(scaled), np.ones(scaled.shape[:3], bool))

    @jax.jit
    def maps(image):
        def apply(*given, **options):
            return network.apply(variables, *given, **options)

        return Group().maps(apply, image, jnp.asarray([size]), image[:, :, ::-1])

    found, record = maps(image), record_of(workdir, example.file_name)
    expected = Group().merge(
        [np.asarray(found.cams[0])], example.labels, [size], photograph.shape[:2], 16
    )
    np.testing.assert_allclose(record.cams, np.clip(expected, 0, 1), atol=0.5 / 255 + 2e-3)
    # Of so short a training the maps may be nowhere positive: the probabilities tell more.
    pooled = np.asarray(found.logits[0], np.float64).mean((0, 1))
    assert pooled.std() > 2e-4
    np.testing.assert_allclose(record.probabilities, 1 / (1 + np.exp(-pooled)), atol=5e-6)


def test_the_labels_and_predict_are_the_same_masks(workdir, dataset):
    example = dataset.split("train")[1]
    labels = {each["file_name"]: each for each in RecordReader(workdir / "labels" / "train")}
    mask = decode_mask(labels[example.file_name]["mask"], example.file_name)
    network = hfpl_jax.load(workdir, "cam")
    assert network.method == Group()
    [made] = network.predict([example.pixels()], [example.labels.tolist()])
    assert (made.mask == mask).mean() > 0.999
    metrics = json.loads((workdir / "metrics" / "metrics.json").read_text())
    assert metrics["threshold"] is not None


def test_killed_and_resumed_it_ends_as_undisturbed(workdir, tmp_path, monkeypatch):
    put_batch, seen = loop.put_batch, []

    def killed(mesh, batch):
        seen.append(batch)
        if len(seen) == 4:
            raise KeyboardInterrupt
        return put_batch(mesh, batch)

    with monkeypatch.context() as patch:
        patch.setattr(loop, "put_batch", killed)
        with pytest.raises(KeyboardInterrupt):
            pipeline.run(the_config(), tmp_path, ("data", "train"))
    pipeline.run(the_config(), tmp_path, ("data", "train"))
    rows, expected = (read_rows(result_folder(each / "train")) for each in (tmp_path, workdir))
    assert rows == expected
