"""The report puts each photograph's own maps beside it, whichever batches, processes
and stages wrote them in whichever order.
"""

import io

import numpy as np
import pytest
from PIL import Image

from hfpl_jax import distributed
from hfpl_jax.data.dataset import Example, encode_mask
from hfpl_jax.defaults import default_config
from hfpl_jax.errors import InputError
from hfpl_jax.inference.cam_record import CamRecord
from hfpl_jax.inference.multi_scale import MultiScale, batches_by_shape
from hfpl_jax.inference.padding import plan_shapes
from hfpl_jax.inference.walk import record_sizes
from hfpl_jax.records import RecordReader, RecordWriter
from hfpl_jax.stages.context import Context
from hfpl_jax.stages.report import tiles

COUNT = 24
SIZES = [(20 + 7 * (index % 3), 30 - 9 * (index % 2)) for index in range(COUNT)]
"""Height and width; several photographs of each."""


def example(index):
    """A photograph in one grey level, its number, and a mask of that many pixels."""
    height, width = SIZES[index]
    png = io.BytesIO()
    Image.fromarray(np.full((height, width, 3), index, np.uint8)).save(png, "PNG")
    labels = np.arange(1 + (index % 5 == 3))
    return Example(f"{index}.png", png.getvalue(), labels, mask(index), height, width)


def mask(index):
    height, width = SIZES[index]
    return encode_mask((np.arange(height * width).reshape(height, width) < index).astype(np.uint8))


class Photographs:
    name, class_names = "made up", ("cat", "dog")

    def split(self, name):
        assert name == "train"
        return [example(index) for index in range(COUNT)]


def orders(sizes, monkeypatch, processes):
    """The photographs of each process, in the order in which it writes their
    records.
    """
    shapes = plan_shapes(np.asarray(list(sizes.values())), 4)
    for process in range(processes):
        monkeypatch.setattr(
            distributed, "share", lambda items, process=process: items[process::processes]
        )
        batches = batches_by_shape(sizes, shapes, set(), 4)
        yield process, [index for _, indices in batches for index in indices]


def cam(index):
    """A CAM whose strongest value is the photograph's number, in 255ths."""
    height, width = SIZES[index]
    classes = example(index).labels
    maps = np.zeros((height, width, len(classes)), np.float32)
    maps[height // 2 :, :, -1] = index / 255
    return CamRecord(index, f"{index}.png", classes, classes, maps)


def write_cams(workdir, monkeypatch, processes, long_side):
    base = MultiScale((1.0,), long_side, False, 4).base_size
    sizes = {f"{index}.png": base(size) for index, size in enumerate(SIZES)}
    for process, order in orders(sizes, monkeypatch, processes):
        with RecordWriter(workdir / "cams" / "train", 4, process_index=process) as writer:
            for index in order:
                writer.write(cam(index).encode())


def write_labels(workdir, monkeypatch, processes):
    """In the order of the random walk: batches of CAM records of one shape."""
    records = RecordReader(workdir / "cams" / "train")
    for process, order in orders(record_sizes(records)[0], monkeypatch, processes):
        with RecordWriter(workdir / "labels" / "train", 4, process_index=process) as writer:
            for position in order:
                index = records[position]["index"]
                height, width = SIZES[index]
                label = np.full((height, width), 1 + index % 2, np.uint8)
                label[: index % 5] = 255
                writer.write(
                    {
                        "index": index,
                        "file_name": f"{index}.png",
                        "labels": [index % 2],
                        "mask": encode_mask(label),
                    }
                )


def context(workdir, photographs):
    config = default_config()
    config.report.photographs = photographs
    return Context(config, workdir, workdir / "report", Photographs())


@pytest.mark.parametrize("long_side", [None, 16])
@pytest.mark.parametrize("processes", [1, 2, 3])
def test_every_tile_holds_its_own_maps(tmp_path, monkeypatch, processes, long_side):
    write_cams(tmp_path, monkeypatch, processes, long_side)
    write_labels(tmp_path, monkeypatch, processes)
    written = {
        stage: [record["index"] for record in RecordReader(tmp_path / stage / "train")]
        for stage in ("cams", "labels")
    }
    # What a pairing by position would survive is one process without a long side alone.
    assert (written["cams"] == written["labels"]) == (processes == 1 and long_side is None)
    shown = tiles(context(tmp_path, COUNT))
    assert [tile.file_name for tile in shown] == [f"{index}.png" for index in range(COUNT)]
    for index, tile in enumerate(shown):
        height, width = SIZES[index]
        assert (tile.image == index).all()
        assert tile.image.shape == (height, width, 3)
        assert (tile.truth == 1).sum() == index
        np.testing.assert_array_equal(tile.cam, cam(index).cams.max(axis=-1))
        assert (tile.pseudo_label[: index % 5] == 255).all()
        assert (tile.pseudo_label[index % 5 :] == 1 + index % 2).all()
        assert tile.labels == (("cat", "dog") if index % 5 == 3 else ("cat",))


def test_of_neighbours_the_one_with_most_classes_is_shown(tmp_path, monkeypatch):
    write_cams(tmp_path, monkeypatch, 2, None)
    write_labels(tmp_path, monkeypatch, 2)
    shown = tiles(context(tmp_path, 3))
    assert [tile.file_name for tile in shown] == ["3.png", "8.png", "18.png"]


def test_a_mask_of_another_photograph_is_refused(tmp_path, monkeypatch):
    write_cams(tmp_path, monkeypatch, 1, None)
    with RecordWriter(tmp_path / "labels" / "train") as writer:
        for index in range(COUNT):
            record = {"index": index, "file_name": f"{index}.png", "labels": [0]}
            writer.write({**record, "mask": mask(min(index + 1, COUNT - 1))})
    with pytest.raises(
        InputError,
        match=r"pseudo-label of 0\.png has the shape \(27, 21\), but the photograph is 20 pixels "
        r"high and 30 wide.*Delete the folders cams and labels",
    ):
        tiles(context(tmp_path, COUNT))
