"""model.json, as the stages leave it beside a training."""

import json

import pytest
from scored_photographs import Photographs, context

from hfpl_jax.build import build_method, build_network
from hfpl_jax.model_file import read_model
from hfpl_jax.runtime.manifest import want
from hfpl_jax.stages import model

METRICS = {
    "threshold": 0.27,
    "threshold_rule": "given",
    "image_labels": "given image labels",
    "class_cut": 0.41,
    "class_cut_f1": 0.9,
    "notices": [],
}


@pytest.fixture
def at(tmp_path):
    """`at(stage, ...)`: its context, in a workdir with a training."""
    photographs = Photographs(train=[None])

    def context_of(stage, **fields):
        folder = stage if stage == "metrics" else f"{stage}/0a"
        (tmp_path / stage).mkdir(exist_ok=True)
        made = context(tmp_path, folder, photographs, **fields)
        if folder != stage:
            want(tmp_path, stage, "0a")
        return made

    (tmp_path / "metrics").mkdir()
    (tmp_path / "metrics" / "metrics.json").write_text(json.dumps(METRICS))
    return context_of


def test_the_training_says_what_it_is_and_the_metrics_the_rest(at):
    training = at("train", method__name="seam", inference__scales=(0.5, 1.0))
    model.after_train(training)
    first = read_model(training.folder)
    assert (first.network, first.threshold, first.class_cut) == ("cam", None, None)
    assert (first.class_names, first.scales, first.flip) == (("cat",), (0.5, 1.0), True)
    own = build_method(training.config)
    assert first.head == {"name": "seam", "settings": vars(own)}
    backbone = build_network(training.config, 1).backbone
    assert first.output_stride == backbone.output_stride
    assert first.backbone["name"] == "resnet50"
    assert all(
        getattr(backbone, name) == value for name, value in first.backbone["settings"].items()
    )

    # Other scales make other CAMs, and a threshold of their own; the training is the same.
    changed = {"method__name": "seam", "inference__scales": (1.0,)}
    model.after_metrics(at("metrics", **changed))
    second = read_model(training.folder)
    assert (second.threshold, second.threshold_rule) == (0.27, "given")
    assert (second.class_cut, second.class_cut_f1) == (0.41, 0.9)
    assert (second.scales, second.image_labels) == ((1.0,), "given image labels")
    model.after_train(at("train", **changed))
    assert read_model(training.folder) == second
    # A damaged file comes back.
    (training.folder / "model.json").write_text("{")
    model.after_train(training)
    assert read_model(training.folder) == first


def test_the_final_network_says_how_its_run_looks_at_photographs(at):
    fields = {"segmentation__scales": (1.0,), "segmentation__long_side": 96}
    training = at("segmentation", **fields)
    model.after_segmentation(training)
    first = read_model(training.folder)
    assert (first.network, first.head["name"]) == ("segmentation", "deeplab_v2")
    assert (first.scales, first.long_side, first.threshold) == ((1.0,), 96, None)
    assert first.crf == training.config.segmentation.crf.to_dict()
    model.after_predictions(at("segmentation", segmentation__crf__iterations=0))
    second = read_model(training.folder)
    assert (second.crf, second.long_side) == (None, 0)
