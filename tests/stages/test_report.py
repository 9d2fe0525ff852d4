"""The report puts each photograph's own maps beside it, whichever batches, processes
and stages wrote them in whichever order.
"""

import dataclasses
import io

import numpy as np
import pytest
from PIL import Image

from hfpl_jax.data.dataset import Example, encode_mask
from hfpl_jax.defaults import default_config
from hfpl_jax.errors import InputError
from hfpl_jax.inference.cam_record import CamRecord
from hfpl_jax.inference.multi_scale import MultiScale, batches_by_shape
from hfpl_jax.inference.padding import plan_shapes
from hfpl_jax.instance import Instance, encode_rle
from hfpl_jax.pipeline import stages_of
from hfpl_jax.refine.on_device import record_sizes
from hfpl_jax.report.grid import grid_png
from hfpl_jax.runtime import distributed
from hfpl_jax.runtime.records import RecordReader, RecordWriter
from hfpl_jax.stages.context import Context
from hfpl_jax.stages.report import pictures

COUNT = 24
SIZES = [(20 + 7 * (index % 3), 30 - 9 * (index % 2)) for index in range(COUNT)]
"""Height and width; several photographs of each."""


def example(index):
    """A photograph in one grey level, its number, and a mask of that many pixels; every
    third has them as its true instance.
    """
    height, width = SIZES[index]
    png = io.BytesIO()
    Image.fromarray(np.full((height, width, 3), index, np.uint8)).save(png, "PNG")
    labels = np.arange(1 + (index % 5 == 3))
    instances = None if index % 3 else (Instance(0, encode_rle(region(index))),)
    return Example(f"{index}.png", png.getvalue(), labels, mask(index), height, width, instances)


def region(index):
    height, width = SIZES[index]
    return np.arange(height * width).reshape(height, width) < index


def mask(index):
    return encode_mask(region(index).astype(np.uint8))


class Photographs:
    name, class_names = "made up", ("cat", "dog")

    def split(self, name):
        """Of val, the first half, without the masks of every third."""
        if name == "train":
            return [example(index) for index in range(COUNT)]
        assert name == "val"
        return [
            dataclasses.replace(example(index), segmentation_mask=None)
            if index % 3 == 2
            else example(index)
            for index in range(COUNT // 2)
        ]


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
    return CamRecord(index, f"{index}.png", classes, classes, maps, np.zeros(2, np.float32))


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


def write_masks(workdir, stage, split, order, value, processes=1):
    """Label maps all of the value `value(index)`, in an order that no other stage
    has.
    """
    for process in range(processes):
        with RecordWriter(workdir / stage / split, 4, process_index=process) as writer:
            for index in order[process::processes]:
                record = {"index": index, "file_name": f"{index}.png", "labels": [0]}
                labels = np.full(SIZES[index], value(index), np.uint8)
                writer.write({**record, "mask": encode_mask(labels)})


def shown(workdir, photographs=COUNT, also=(), **fields):
    """The tiles of the pictures, by file name of the picture."""
    config = default_config()
    config.report.photographs = photographs
    config.update_from_flattened_dict(
        {path.replace("__", "."): value for path, value in fields.items()}
    )
    reads = next(stage.reads for stage in stages_of(config) if stage.name == "report")
    context = Context(config, workdir, workdir / "report", Photographs(), (*reads, *also))
    return {picture.file_name: picture.tiles for picture in pictures(context)}


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
    tiles = shown(tmp_path)["grid.png"]
    assert [tile.file_name for tile in tiles] == [f"{index}.png" for index in range(COUNT)]
    for index, tile in enumerate(tiles):
        height, width = SIZES[index]
        assert (tile.image == index).all()
        assert tile.image.shape == (height, width, 3)
        assert list(tile.maps) == ["truth", "CAM", "pseudo-label"]
        assert (tile.maps["truth"] == 1).sum() == index
        np.testing.assert_array_equal(tile.maps["CAM"], cam(index).cams.max(axis=-1))
        assert (tile.maps["pseudo-label"][: index % 5] == 255).all()
        assert (tile.maps["pseudo-label"][index % 5 :] == 1 + index % 2).all()
        assert tile.labels == (("cat", "dog") if index % 5 == 3 else ("cat",))


SEGMENTS = {"segmentation__epochs": 1, "export__formats": ("array_record",)}


@pytest.mark.parametrize("processes", [1, 3])
def test_every_stage_has_its_panel_and_the_final_network_its_picture(
    tmp_path, monkeypatch, processes
):
    rng = np.random.default_rng(processes)
    write_cams(tmp_path, monkeypatch, processes, None)
    write_labels(tmp_path, monkeypatch, processes)
    write_masks(
        tmp_path, "crf", "train", rng.permutation(COUNT).tolist(), lambda index: index, processes
    )
    order = rng.permutation(COUNT // 2).tolist()
    write_masks(tmp_path, "predictions", "val", order, lambda index: 100 + index, processes)
    of = shown(tmp_path, refine__name="random_walk", **SEGMENTS)
    assert list(of) == ["grid.png", "predictions.png"]
    for index, tile in enumerate(of["grid.png"]):
        assert tile.columns == ("photograph", "truth", "CAM", "CRF", "pseudo-label")
        assert (tile.maps["CRF"] == index).all()
        assert (tile.maps["pseudo-label"][index % 5 :] == 1 + index % 2).all()
    assert len(of["predictions.png"]) == COUNT // 2
    for index, tile in enumerate(of["predictions.png"]):
        assert tile.file_name == f"{index}.png"
        assert tile.columns == ("photograph", "truth", "final network")
        assert (tile.image == index).all()
        assert (tile.maps["final network"] == 100 + index).all()
        assert (tile.maps["truth"] is None) == (index % 3 == 2)
        assert tile.maps["truth"] is None or (tile.maps["truth"] == 1).sum() == index


@pytest.mark.parametrize(
    ("fields", "columns"),
    [
        ({}, {"grid.png": ("CAM", "pseudo-label")}),
        ({"refine__name": "crf"}, {"grid.png": ("CAM", "pseudo-label")}),  # the same masks twice
        ({"refine__name": "random_walk"}, {"grid.png": ("CAM", "CRF", "pseudo-label")}),
        (SEGMENTS, {"grid.png": ("CAM", "pseudo-label"), "predictions.png": ("final network",)}),
    ],
)
def test_nothing_is_shown_of_a_stage_that_the_configuration_does_not_have(
    tmp_path, monkeypatch, fields, columns
):
    """Though its folder is there, from an earlier configuration."""
    write_cams(tmp_path, monkeypatch, 1, None)
    write_labels(tmp_path, monkeypatch, 1)
    write_masks(tmp_path, "crf", "train", range(COUNT), lambda index: 1)
    write_masks(tmp_path, "predictions", "val", range(COUNT // 2), lambda index: 1)
    of = shown(tmp_path, 2, **fields)
    assert {name: tiles[0].columns[2:] for name, tiles in of.items()} == columns


def test_instances_stand_beside_the_true_ones(tmp_path, monkeypatch):
    """In the splits that have records, whichever order these have."""
    write_cams(tmp_path, monkeypatch, 1, None)
    write_labels(tmp_path, monkeypatch, 1)
    with RecordWriter(tmp_path / "instances" / "train") as writer:
        for index in np.random.default_rng(0).permutation(COUNT).tolist():
            rle = encode_rle(np.ones(SIZES[index], bool))
            found = [Instance(1, rle, score=index / 100, peak=(index % 5, 2))] * (index % 2)
            record = {"index": index, "file_name": f"{index}.png"}
            writer.write({**record, "instances": [one.encode() for one in found]})
    of = shown(tmp_path, also=("instances",))
    assert list(of) == ["grid.png", "instances_train.png"]
    for index, tile in enumerate(of["instances_train.png"]):
        assert tile.columns == ("photograph", "true instances", "instances")
        assert (tile.image == index).all()
        true, found = tile.maps.values()
        if index % 3:
            assert true is None
        else:
            assert true.captions == ("cat",)
            assert true.regions.sum() == index
        assert found.shape == SIZES[index]
        assert found.captions == (f"dog {index / 100:.2f}",) * (index % 2)
        assert found.peaks == ((index % 5, 2),) * (index % 2)


def test_the_pictures_do_not_show_how_many_processes_made_them(tmp_path, monkeypatch):
    encoded = []
    for processes in (1, 2, 3):
        workdir = tmp_path / str(processes)
        write_cams(workdir, monkeypatch, processes, 16)
        write_labels(workdir, monkeypatch, processes)
        order = np.random.default_rng(processes).permutation(COUNT // 2).tolist()
        write_masks(workdir, "predictions", "val", order, lambda index: index % 3, processes)
        of = shown(workdir, 6, **SEGMENTS)
        encoded.append(
            [grid_png(tiles, class_names=Photographs.class_names) for tiles in of.values()]
        )
    assert encoded[0] == encoded[1] == encoded[2]


def test_of_neighbours_the_one_with_most_classes_is_shown(tmp_path, monkeypatch):
    write_cams(tmp_path, monkeypatch, 2, None)
    write_labels(tmp_path, monkeypatch, 2)
    write_masks(tmp_path, "predictions", "val", range(COUNT // 2), lambda index: 0)
    of = shown(tmp_path, 3, **SEGMENTS)
    names = {name: [tile.file_name for tile in tiles] for name, tiles in of.items()}
    assert names["grid.png"] == ["3.png", "8.png", "18.png"]
    assert names["predictions.png"] == ["3.png", "4.png", "8.png"]


def test_a_mask_of_another_photograph_is_refused(tmp_path, monkeypatch):
    write_cams(tmp_path, monkeypatch, 1, None)
    with RecordWriter(tmp_path / "labels" / "train") as writer:
        for index in range(COUNT):
            record = {"index": index, "file_name": f"{index}.png", "labels": [0]}
            writer.write({**record, "mask": mask(min(index + 1, COUNT - 1))})
    with pytest.raises(
        InputError,
        match=r"pseudo-label of 0\.png has the shape \(27, 21\), but the photograph is 20 pixels "
        r"high and 30 wide.*Delete the folders cams, labels and predictions",
    ):
        shown(tmp_path)


def test_the_masks_that_are_shown_decide_the_report():
    config = default_config()
    report = stages_of(config)[-1]
    assert report.name == "report"
    assert report.masks(config) == ("train",)
    config.data.label_split, config.segmentation.epochs = "other", 1
    assert report.masks(config) == ("other", "val")
