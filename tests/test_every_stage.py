"""SEAM with both losses, the CRF, the random walk, the export and a segmentation network:
every stage of the way in one run.
"""

import json

import numpy as np
import pytest
from end_to_end import expected_pictures, pictures, tiny

from hfpl_jax import pipeline
from hfpl_jax.data.dataset import Dataset, decode_mask
from hfpl_jax.data.transforms.affinity_labels import average_pool
from hfpl_jax.inference.cam_record import CamRecord
from hfpl_jax.inference.pseudo_labels import label_map_of
from hfpl_jax.refine.background import threshold_background
from hfpl_jax.refine.random_walk import upsample_walked
from hfpl_jax.runtime.records import RecordReader
from hfpl_jax.stages.scoring import Score

ALL_STAGES = {
    "method.name": "seam",
    "refine.name": "random_walk",
    "refine.random_walk.affinity.epochs": 1,
    "refine.random_walk.affinity.batch_size": 8,
    "refine.random_walk.affinity.crop_size": 96,
    "export.format": "array_record",
    "segmentation.epochs": 1,
    "segmentation.batch_size": 8,
    "segmentation.crop_size": 64,
    "segmentation.scales": (0.75, 1.0),
}


@pytest.mark.slow
def test_from_photographs_to_a_segmentation_network(tmp_path):
    config = tiny(**ALL_STAGES)
    config.run.cam_batch_size = (
        8  # the walk looks at each photograph once, so this is what the devices share
    )
    pipeline.run(config, tmp_path)
    others = {"neighbours", "features", "refinement", "seeds", "mining", "instances"}
    expected = [name for name in pipeline.stage_names() if name not in others]
    assert [stage.name for stage in pipeline.stages_of(config)] == expected
    names = {"crf": "crf", "labels": "pseudo_label", "predictions": "segmentation"}
    for stage, kind in names.items():
        metrics = json.loads((tmp_path / stage / "metrics.json").read_text())
        assert 0.0 < metrics[f"val/{kind}/miou"] < 1.0
        assert (f"train/{kind}/miou" in metrics) == (stage != "predictions")
        # The figures are those of the masks that lie in the records.
        score = Score(Dataset(tmp_path / "data" / "scenes" / "1.0.0").class_names)
        for record in RecordReader(tmp_path / stage / "val"):
            truth = (
                Dataset(tmp_path / "data" / "scenes" / "1.0.0")
                .split("val")[record["index"]]
                .segmentation_mask
            )
            score.add(decode_mask(record["mask"], ""), decode_mask(truth, ""))
        assert score.figures("")["/miou"] == pytest.approx(metrics[f"val/{kind}/miou"])
    exported = Dataset(tmp_path / "export").split("train")
    labels = {record["file_name"]: record for record in RecordReader(tmp_path / "labels" / "train")}
    assert len(exported) == len(labels) == 24
    for example in exported:
        mask = decode_mask(example.segmentation_mask, "")
        np.testing.assert_array_equal(mask, decode_mask(labels[example.file_name]["mask"], ""))
        assert set(np.unique(mask)) <= {0, *(1 + example.labels)}
    assert pictures(tmp_path) == expected_pictures(tmp_path, walked=True, segmented=True)
    page = (tmp_path / "report" / "report.html").read_text()
    for stage, kind in names.items():
        metrics = json.loads((tmp_path / stage / "metrics.json").read_text())
        value = 100 * metrics[f"val/{kind}/miou"]
        assert f"<b>{value:.1f}</b><span>val/{kind} mIoU, %</span>" in page

    # A killed refinement goes on after its last whole shard, and comes to the same
    # masks.
    (tmp_path / "labels" / "metrics.json").unlink()
    manifest = json.loads((tmp_path / "labels" / "manifest.json").read_text())
    (tmp_path / "labels" / "manifest.json").write_text(json.dumps({**manifest, "done": False}))
    last = max((tmp_path / "labels" / "train").glob("records-*"))
    last.unlink()
    pipeline.run(config, tmp_path, ["data", "labels"])
    again = {record["file_name"]: record for record in RecordReader(tmp_path / "labels" / "train")}
    assert {name: record["mask"] for name, record in again.items()} == {
        name: record["mask"] for name, record in labels.items()
    }

    # What walks is CAMs against the threshold that the metrics chose.
    config.refine.random_walk.steps = 0
    pipeline.run(config, tmp_path, ["data", "labels"])
    masks = {
        record["file_name"]: decode_mask(record["mask"], "")
        for record in RecordReader(tmp_path / "labels" / "train")
    }
    threshold = json.loads((tmp_path / "metrics" / "metrics.json").read_text())["threshold"]
    cell = config.model.resnet.output_stride
    for cam in map(CamRecord.decode, RecordReader(tmp_path / "cams" / "train")):
        start = average_pool(threshold_background(cam.cams, threshold), cell)
        height, width, _ = cam.cams.shape
        expected = label_map_of(
            np.asarray(upsample_walked(start[None], cell=cell))[0, :height, :width], cam.classes
        )
        assert np.mean(masks[cam.file_name] == expected) > 0.999
