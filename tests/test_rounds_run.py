"""Two rounds of MCOF on tiny scenes, through every stage."""

import json
import logging

import numpy as np
import pytest
from end_to_end import tiny

from hfpl_jax import pipeline
from hfpl_jax.data.dataset import Dataset, decode_mask
from hfpl_jax.inference.cam_record import CamRecord
from hfpl_jax.masks import label_map
from hfpl_jax.refine.over_segmentation import superpixels
from hfpl_jax.runtime.manifest import read_manifest
from hfpl_jax.runtime.records import RecordReader

MCOF = {
    "rounds": 2,
    "train.epochs": 1,
    "refine.name": "regions",
    "refine.regions.count": 60,
    "refine.regions.mining.epochs": 1,
    "refine.regions.mining.batch_size": 8,
    "refine.regions.mining.crop_size": 48,
    "export.format": "array_record",
    "segmentation.epochs": 1,
    "segmentation.batch_size": 8,
    "segmentation.crop_size": 48,
    "segmentation.scales": (1.0,),
    "segmentation.crf.iterations": 0,
}


def records(folder):
    return {record["file_name"]: record for record in RecordReader(folder)}


@pytest.mark.slow
def test_a_second_round_begins_with_what_the_network_sees(tmp_path, caplog):
    config = tiny(**MCOF)
    config.run.cam_batch_size = 8  # each device has one
    with caplog.at_level(logging.INFO):
        pipeline.run(config, tmp_path)
    dataset = Dataset(tmp_path / "data" / "scenes" / "1.0.0")

    # Where all that the network sees is on the photograph, it is its own label map.
    predicted = records(tmp_path / "predictions" / "val")
    seen = {name: CamRecord.decode(r) for name, r in records(tmp_path / "round2/cams/val").items()}
    assert seen.keys() == predicted.keys()
    compared = 0
    for example in dataset.split("val"):
        cams, mask = seen[example.file_name], decode_mask(predicted[example.file_name]["mask"], "")
        np.testing.assert_array_equal(cams.classes, example.labels)
        assert cams.probabilities.shape == (len(dataset.class_names),)
        if set(np.unique(mask)) <= {0, *(1 + example.labels)}:
            own = label_map(cams.cams, cams.classes, threshold=0.5)
            assert np.mean(own == mask) > 0.99  # in steps of 1/255
            compared += 1
    assert compared

    # A superpixel is of one class of the photograph; colours extend round 1 alone.
    for example in dataset.split("train"):
        mask = decode_mask(records(tmp_path / "round2/labels/train")[example.file_name]["mask"], "")
        pieces = superpixels(example.pixels(), 60)
        for name in range(int(pieces.max()) + 1):
            assert len(np.unique(mask[pieces == name])) == 1
        assert set(np.unique(mask)) <= {0, *(1 + example.labels)}
        break

    miou = {
        f"{room}{kind}": json.loads((tmp_path / room / stage / "metrics.json").read_text())[
            f"val/{kind}/miou"
        ]
        for room in ("", "round2/")
        for stage, kind in (("labels", "pseudo_label"), ("predictions", "segmentation"))
    }
    page = (tmp_path / "report" / "report.html").read_text()
    assert "mIoU of the rounds" in page
    for value in miou.values():
        assert f"{100 * value:.1f} %" in page
    last = f"{100 * miou['round2/segmentation']:.1f}"
    [table] = [text for text in caplog.messages if text.startswith("mIoU, %")]
    assert table.splitlines()[-1].startswith("round 2")
    assert last in table.splitlines()[-1]
    assert "Final network on val, round 2" in page

    # Killed while it looked at photographs, the round goes on and comes to the same.
    masks = {name: r["mask"] for name, r in records(tmp_path / "round2/labels/train").items()}
    maps = {name: r["cams"] for name, r in records(tmp_path / "round2/cams/train").items()}
    folder = tmp_path / "round2" / "cams"
    manifest = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps({**manifest, "done": False}))
    max((folder / "train").glob("records-*")).unlink()
    trained = read_manifest(tmp_path / "round2" / "segmentation")
    pipeline.run(config, tmp_path)
    assert {n: r["cams"] for n, r in records(tmp_path / "round2/cams/train").items()} == maps
    again = {name: r["mask"] for name, r in records(tmp_path / "round2/labels/train").items()}
    assert again == masks
    assert read_manifest(tmp_path / "round2" / "segmentation") == trained
