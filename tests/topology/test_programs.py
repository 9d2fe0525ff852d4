"""The programs of a recipe's stages, traced for the devices that are there."""

import dataclasses

import jax
import pytest

from hfpl_jax.errors import InputError
from hfpl_jax.recipe import load_recipe
from hfpl_jax.topology.pods import Pod
from hfpl_jax.topology.programs import programs_of

ALL = ("train", "cams", "crf", "affinity", "labels", "segmentation", "predictions")


@dataclasses.dataclass(frozen=True)
class Here(Pod):
    """Eight devices of two hosts with four each."""

    @property
    def devices(self):
        return jax.devices()

    @property
    def of_a_host(self):
        return jax.devices()[:4]


HERE = Here("v5e-8", "v5e", "2x4")


def the_config(**fields):
    config = load_recipe("configs/cam.py:data=scenes")
    tiny = {
        "model.resnet.width": 8,
        "train.crop_size": 32,
        "train.batch_size": 8,
        "train.epochs": 2,
        "refine.random_walk.affinity.crop_size": 48,
        "refine.random_walk.affinity.batch_size": 8,
        "segmentation.crop_size": 32,
        "inference.scales": (0.5, 1.0),
        "run.cam_batch_size": 4,
    }
    config.update_from_flattened_dict(tiny | fields)
    return config


def built(config, stages=ALL):
    return [(each.stage, each.build(config, HERE)) for each in programs_of(config, stages)]


def test_every_stage_that_computes_on_devices():
    config = the_config(
        **{
            "refine.name": "random_walk",
            "refine.random_walk.crf.algorithm": "exact",
            "segmentation.epochs": 1,
            "segmentation.crf.algorithm": "exact",
        }
    )
    found = built(config)
    assert [stage for stage, _ in found] == [*ALL, "predictions"]
    programs = dict(found[:-1])
    train = programs["train"]
    assert train.what.startswith("a step of 8 images of 32x32, 1 a device; ")
    assert (train.devices, train.unit, train.times) == (8, 8, 2 * 400 // 8)
    # 500 photographs on two hosts, four at once; those at scale 1/2 are a quarter as large
    cams = programs["cams"]
    assert cams.what == ("4 photographs, mirrored too, at 160x160, 2 images a device of one host")
    assert (cams.devices, cams.unit, cams.times) == (4, 2, 500 / 2 / 4 * 1.25)
    crf, last = programs["crf"], found[-1][1]
    assert crf.what == "an exact CRF of 3 maps of 144x144, 9 labels, on one device"
    assert (crf.devices, crf.times) == (1, 500 / 2)
    assert last.what == "an exact CRF of 1 maps of 144x144, 9 labels, on one device"
    assert last.times == 100 / 2
    assert programs["labels"].what == "random_walk of 4 photographs of 160x160, 8 classes each"
    assert programs["affinity"].what.startswith("a step of 8 images of 48x48, 1 a device; ")
    assert programs["segmentation"].what.startswith("a step of 8 images of 32x32, 1 a device; ")


def test_what_is_done_on_the_host_is_no_program():
    assert [stage for stage, _ in built(the_config(), ["labels", "metrics", "export"])] == []
    config = the_config(**{"refine.name": "crf"})  # on the host by the algorithm of a recipe
    assert [each.stage for each in programs_of(config, ("cams", "labels"))] == ["cams"]


def test_a_batch_that_does_not_divide_into_the_pod():
    config = the_config(**{"train.batch_size": 12})
    with pytest.raises(
        InputError, match=r"config\.train\.batch_size = 12 does not divide into 8 devices"
    ):
        built(config, ["train"])


def test_features_that_are_stored_are_what_a_head_is_shown():
    config = load_recipe("configs/frozen.py:data=scenes")
    config.run.cam_batch_size = 4
    [(_, cams)] = built(config, ["cams"])
    shown = {(len(each.shape), each.dtype.name) for each in cams.traced.jaxpr.in_avals}
    assert (4, "float16") in shown
    assert (4, "uint8") not in shown
