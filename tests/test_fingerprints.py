"""Files decide a result by what they hold, not by where they lie; masks train no
classifier.
"""

import json
import os
import shutil

import jax
import numpy as np
import pytest
from fake_stages import note_runs
from tiny_datasets import make_folder, square_mask, write, write_mask

from hfpl_jax import pipeline
from hfpl_jax.defaults import default_config
from hfpl_jax.errors import InputError
from hfpl_jax.instance import encode_rle
from hfpl_jax.runtime.manifest import read_manifest, result_folder

NAMES = tuple(f"{index}.jpg" for index in range(4))
LABELS = "file_name,labels,split\n0.jpg,cat,train\n1.jpg,dog,train\n2.jpg,cat,val\n3.jpg,dog,val\n"


@pytest.fixture
def photos(tmp_path):
    root = make_folder(tmp_path / "photos", LABELS, NAMES)
    for index in range(4):
        mask(root, index)
    return root


def mask(root, index, *, rim=255, palette=False):
    """Of a cat or of a dog, as the labels have it."""
    values = square_mask(1 + index % 2)
    write_mask(
        root / "masks" / f"{index}.png", np.where(values == 255, rim, values), palette=palette
    )


@pytest.fixture
def config(photos):
    config = default_config()
    config.data.name, config.data.root = "folder", str(photos)
    config.data.options = {"labels": "labels.csv", "masks": "masks"}
    config.model.weights = "random"
    return config


@pytest.fixture
def run(monkeypatch, config, tmp_path):
    """`run()` -> names of the stages that ran; every weight file fits."""
    ran = note_runs(monkeypatch)
    monkeypatch.setattr("hfpl_jax.start_checks.load_backbone", lambda path, variables, _: variables)

    def call():
        ran.clear()
        pipeline.run(config, tmp_path / "run")
        return list(ran)

    return call


@pytest.mark.parametrize("index", [0, 2])  # of train, and of val
def test_mending_a_mask_scores_again_and_trains_nothing(run, photos, index):
    run()
    mask(photos, index, rim=0)
    assert run() == ["metrics", "labels", "export", "report"]
    assert run() == []


def test_what_comes_to_the_same_again_trains_no_network_behind_it(
    monkeypatch, config, photos, tmp_path
):
    """Masks of val score the CRF's masks anew; AffinityNet reads none of that."""
    content, asked = {"affinity": "one", "segmentation": "one"}, []
    ran = note_runs(
        monkeypatch,
        {name: lambda _, name=name: asked.append(name) or content[name] for name in content},
    )
    config.update_from_flattened_dict(
        {
            "refine.name": "random_walk",
            "segmentation.epochs": 1,
            "export.formats": ("array_record",),
        }
    )

    def again():
        ran.clear()
        pipeline.run(config, tmp_path / "run")
        return list(ran)

    assert {"train", "affinity", "segmentation"} <= set(again())
    assert (again(), asked) == ([], ["affinity", "segmentation"])  # read once
    mask(photos, 2, rim=0)
    assert again() == ["metrics", "crf", "labels", "export", "predictions", "report"]
    config.export.confidence = False
    assert again() == ["export"]
    content["affinity"] = "two"
    mask(photos, 2)
    assert again() == ["metrics", "crf", "affinity", "labels", "export", "predictions", "report"]
    content["segmentation"] = "two"
    config.export.confidence = True
    assert again() == ["export", "segmentation", "predictions", "report"]


@pytest.fixture
def pretrained(monkeypatch, config):
    """Of a batch for eight devices, which the few photographs of these tests do not fill."""
    monkeypatch.setattr("hfpl_jax.settings.checks._check_unlabelled", lambda *_: None)
    config.pretrain.epochs, config.pretrain.batch_size = 1, 16


@pytest.mark.usefixtures("pretrained")
def test_a_corrected_label_repeats_no_pretraining(run, config, photos):
    """And what starts from it is done again where it is."""
    assert run()[:2] == ["pretrain", "train"]
    write(photos / "labels.csv", LABELS.replace("0.jpg,cat", "0.jpg,dog"))
    write_mask(photos / "masks" / "0.png", square_mask(2), palette=False)
    assert "pretrain" not in (ran := run())
    assert "train" in ran
    config.pretrain.learning_rate = 0.1
    assert run()[:2] == ["pretrain", "train"]
    config.pretrain.epochs = 0
    assert run()[0] == "train"


@pytest.mark.usefixtures("pretrained")
def test_a_final_network_is_trained_again_from_another_pretraining(monkeypatch, config, tmp_path):
    """Though it reads the same pseudo-labels."""
    ran = note_runs(monkeypatch, {"affinity": lambda _: "one", "segmentation": lambda _: "one"})
    config.update_from_flattened_dict(
        {
            "refine.name": "random_walk",
            "segmentation.epochs": 1,
            "export.formats": ("array_record",),
        }
    )
    pipeline.run(config, tmp_path / "run")
    config.pretrain.learning_rate = 0.1
    ran.clear()
    pipeline.run(config, tmp_path / "run")
    assert {"pretrain", "train", "affinity", "segmentation"} <= set(ran)


def test_the_masks_of_another_encoding_are_the_same_masks(run, photos):
    run()
    mask(photos, 0, palette=True)
    assert run() == []


def test_photographs_of_val_train_nothing(run, photos):
    assert run()[0] == "train"
    write(photos / "labels.csv", LABELS.replace("3.jpg,dog,val\n", ""))
    assert run()[0] == "cams"
    write(photos / "labels.csv", LABELS.replace("1.jpg,dog", "1.jpg,cat;dog"))
    assert run()[0] == "train"


def test_a_copy_of_the_photographs_and_of_the_workdir_is_done_already(
    run, config, photos, tmp_path
):
    run()
    shutil.move(photos, tmp_path / "elsewhere")
    config.data.root = str(tmp_path / "elsewhere")
    assert run() == []
    shutil.copytree(tmp_path / "run", tmp_path / "copy")
    pipeline.run(config, tmp_path / "copy")
    assert run() == []


def test_proposals_count_by_their_content(run, config, tmp_path):
    run()
    path, moved = tmp_path / "proposals.jsonl", tmp_path / "moved.jsonl"
    region = encode_rle(np.eye(20, 30, dtype=bool))
    lines = [json.dumps({"file_name": name, "segmentation": region}) for name in NAMES]
    path.write_text("\n".join(lines))
    config.instances.update({"enabled": True, "proposals": str(path)})
    assert run() == ["instances", "export", "report"]
    shutil.move(path, moved)
    config.instances.proposals = str(moved)
    assert run() == []
    moved.write_text("\n".join(lines[1:]))
    assert run() == ["instances", "export", "report"]
    region = encode_rle(np.eye(30, 20, dtype=bool))
    moved.write_text(json.dumps({"file_name": "0.jpg", "segmentation": region}))
    with pytest.raises(InputError, match=r"moved\.jsonl, line 1 \(0\.jpg\): the 'segmentation'"):
        run()
    moved.write_text("[]")
    with pytest.raises(InputError, match=r"moved\.jsonl, line 1, has no file_name"):
        run()


def test_the_weights_count_by_their_content(run, config, tmp_path):
    run()
    weights = tmp_path / "weights.npz"
    weights.write_bytes(b"one")
    config.model.weights = str(weights)
    assert "train" in run()
    first = result_folder(tmp_path / "run" / "train")
    shutil.move(weights, tmp_path / "moved.npz")
    config.model.weights = str(tmp_path / "moved.npz")
    assert run() == []
    (tmp_path / "moved.npz").write_bytes(b"two")
    assert "train" in run()
    assert result_folder(tmp_path / "run" / "train") != first
    (tmp_path / "moved.npz").write_bytes(b"one")
    assert "train" not in run()
    assert result_folder(tmp_path / "run" / "train") == first


def test_neighbours_depend_on_photographs_and_backbone_alone(run, config, photos, tmp_path):
    weights = tmp_path / "weights.npz"
    weights.write_bytes(b"one")
    config.model.weights = str(weights)
    run()
    config.neighbours.enabled = True
    assert run() == ["neighbours"]
    config.seed, config.model.dtype, config.train.epochs = 3, "bfloat16", 1
    config.train.init_from = ""
    assert run()[0] == "train"
    shutil.move(weights, tmp_path / "moved.npz")
    config.model.weights = str(tmp_path / "moved.npz")
    mask(photos, 0, rim=1)
    assert "neighbours" not in run()
    (tmp_path / "moved.npz").write_bytes(b"two")
    assert run()[:2] == ["neighbours", "train"]
    config.neighbours.long_side = 320
    assert run() == ["neighbours"]
    config.data.val_split = ""
    assert "neighbours" in run()
    config.neighbours.enabled = False
    assert run() == []


def test_features_of_a_frozen_backbone_are_looked_for(monkeypatch, run, config, tmp_path):
    """Noted runs store none: they are missing each time, and nothing behind them is done
    again for that.
    """
    config.method.name = "probe"
    assert run()[:2] == ["features", "train"]
    assert run() == ["features"]
    config.train.epochs, config.method.probe.width = 2, 8
    monkeypatch.setattr("hfpl_jax.stages.features.stored", lambda context, split: None)
    assert run()[0] == "train"  # they are there
    config.method.probe.channels = 16
    assert run()[0] == "features"


def test_a_finished_or_begun_training_needs_its_weights_no_more(run, config, tmp_path):
    run()
    weights = tmp_path / "weights.npz"
    config.model.weights = str(weights)
    with pytest.raises(InputError, match=r"weights\.npz does not exist\. Set config\.model\.w"):
        run()
    weights.write_bytes(b"one")
    os.utime(weights, (1, 1))
    assert "train" in run()
    weights.unlink()
    assert run() == []
    config.inference.flip = False
    assert run()[0] == "cams"


def test_a_run_to_start_from_counts_by_its_fingerprint(run, config, tmp_path):
    config.train.init_from = str(tmp_path / "other" / "train")
    with pytest.raises(
        InputError, match=r"config\.train\.init_from = .* holds no .*Name the folder train of a"
    ):
        run()
    other = config.copy_and_resolve_references()
    other.train.init_from, other.seed = "", 3
    pipeline.run(other, tmp_path / "other")
    assert "train" in run()
    first = result_folder(tmp_path / "run" / "train")
    config.model.weights = "a.safetensors"  # everything comes from the other run
    assert run() == []
    shutil.move(tmp_path / "other", tmp_path / "moved")
    assert run() == []
    config.train.init_from = str(tmp_path / "moved" / "train")
    assert run() == []
    other.seed = 4
    pipeline.run(other, tmp_path / "moved")
    assert "train" in run()
    assert result_folder(tmp_path / "run" / "train") != first


def test_the_manifest_says_what_made_the_result(run, tmp_path):
    run()
    for stage in ("train", "cams"):
        made_by = read_manifest(tmp_path / "run" / stage)["made_by"]
        assert made_by["hfpl_jax"] == "0.2.0"
        assert made_by["jax"] == jax.__version__
        assert made_by["devices"] == "8 x cpu"
        assert made_by["processes"] == "1"
