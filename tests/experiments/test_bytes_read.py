import types

from experiments import bytes_read
from hfpl_jax import pipeline
from hfpl_jax.data.dataset import Split
from hfpl_jax.defaults import default_config

SIZES = {"train": (10, 20, 30), "val": (5,)}


def test_photographs_and_bytes_are_those_of_the_stage_that_reads_them(tmp_path, monkeypatch):
    def photograph(split, index):
        size = SIZES[split.name][index]
        return types.SimpleNamespace(image=b"x" * (size - 1), segmentation_mask=b"m")

    def split(name):
        return Split(tmp_path, name, len(SIZES[name]))

    def run(config, workdir, recipe):
        split("train")[2]
        pipeline._do(types.SimpleNamespace(name="train"), None, {})
        return types.SimpleNamespace(dataset=types.SimpleNamespace(split=split))

    monkeypatch.setattr(Split, "__getitem__", photograph)
    monkeypatch.setattr(pipeline, "_do", lambda *_: [split("train")[0], split("val")[0]])
    monkeypatch.setattr(pipeline, "run", run)
    config = default_config()
    config.data.train_split, config.data.val_split = "train", "val"
    counts = bytes_read.counted(config, None, tmp_path)
    assert counts == {
        "data": {"photographs": 4, "bytes": 65},
        "checks and fingerprints": {"photographs": 1, "bytes": 30},
        "train": {"photographs": 2, "bytes": 15},
    }
    assert Split.__getitem__ is photograph
    assert bytes_read.table(counts).splitlines()[-1] == "| train | 2 | 15 | 0.23 |"
