"""PPC with both losses through every stage, on tiny scenes and from random weights."""

import pytest
from end_to_end import tiny

import hfpl_jax
from hfpl_jax import pipeline
from hfpl_jax.data.dataset import Dataset, decode_image
from hfpl_jax.inference.cam_record import CamRecord
from hfpl_jax.methods.seam import WEIGHTS
from hfpl_jax.runtime.manifest import result_folder
from hfpl_jax.runtime.records import RecordReader
from hfpl_jax.training.metric_log import read_rows

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
    config = tiny(method__name="ppc", method__ppc__view_scale=0.6)
    folder = tmp_path_factory.mktemp("ppc")
    pipeline.run(config, folder)
    return folder


def test_the_terms_of_seam_the_contrast_and_both_losses_are_trained(workdir):
    weights = {
        **WEIGHTS,
        **dict.fromkeys(("cross_prototype", "cross_cam", "intra_view"), 0.1),
        "feature_similarity": 1.0,
    }
    rows = read_rows(result_folder(workdir / "train"))
    assert len(rows) == 6  # means of two steps
    for row in rows:
        total = sum(weight * row[name] for name, weight in weights.items())
        assert row["loss"] == pytest.approx(total, rel=1e-4)


def test_the_loaded_network_makes_the_maps_of_the_records(workdir):
    """What the projection of the training is not part of."""
    example = Dataset(workdir / "data" / "scenes" / "1.0.0").split("train")[0]
    records = map(CamRecord.decode, RecordReader(workdir / "cams" / "train"))
    record = next(each for each in records if each.file_name == example.file_name)
    network = hfpl_jax.load(workdir, "cam")
    photograph = decode_image(example.image, example.file_name)
    [cams] = network.cams([photograph], [example.labels.tolist()])
    assert cams.max() == pytest.approx(1.0, abs=1e-4)
    assert abs(cams - record.cams).max() < 0.5 / 255 + 1e-3
