"""What the programs of the recipes take of a pod of four chips, compiled for it at tiny
widths: that they compile is that the library runs on a TPU.
"""

import re

import pytest

from hfpl_jax.recipe import load_recipe
from hfpl_jax.topology import ask, hlo, pod_of
from hfpl_jax.topology.programs import programs_of

TINY = {
    "model.resnet.width": 8,
    "data.options.size": 48,
    "train.crop_size": 32,
    "train.batch_size": 4,
    "inference.scales": (1.0,),
    "inference.flip": False,
    "run.cam_batch_size": 4,
    "refine.random_walk.affinity.batch_size": 4,
    "refine.random_walk.affinity.crop_size": 48,
    "refine.random_walk.steps": 4,
    "refine.crf.algorithm": "exact",
}
CAM, SEAM = "configs/cam.py:data=scenes", "configs/seam.py:data=scenes"
VIT = "configs/mctformer.py:data=scenes"
pytestmark = [pytest.mark.slow, pytest.mark.optimized, pytest.mark.topology]


def the_config(recipe, **fields):
    config = load_recipe(recipe)
    config.update_from_flattened_dict(TINY | fields)
    return config


@pytest.fixture(scope="module")
def pod():
    pytest.importorskip("libtpu")
    return pod_of("v5e-4")


def compiled(config, pod, stage):
    """What a stage's program moves, and how many parameters it trains."""
    [program] = programs_of(config, [stage])
    built = program.build(config, pod)
    text = built.traced.lower().compile().as_text()
    trained = re.search(r"([\d,]+) of them trained", built.what)
    return hlo.moved(text), int(trained[1].replace(",", "")) if trained else 0


@pytest.mark.parametrize(
    ("recipe", "fields"),
    [(CAM, {}), (SEAM, {}), (VIT, {"model.vit.depth": 1, "method.mctformer.blocks": 1})],
    ids=["cam", "seam", "mctformer"],
)
def test_gradients_are_summed_all_at_once_and_no_photograph_travels(pod, recipe, fields):
    moved, trained = compiled(the_config(recipe, **fields), pod, "train")
    assert {each.kind for each in moved.collectives} == {"all-reduce"}
    sizes = [each.size for each in moved.collectives]
    assert len([size for size in sizes if size > 2**16]) <= 2
    # Those of normalisations go with the sums of their statistics, a few bytes each; those
    # of a transformer's positions are summed as the few that the crop's cells have.
    assert 0.93 * 4 * trained < sum(sizes) < 1.1 * 4 * trained


@pytest.mark.parametrize(
    ("recipe", "stage", "fields"),
    [(CAM, "cams", {}), (SEAM, "labels", {})],
    ids=["cams", "random walk"],
)
def test_at_inference_no_device_asks_another(pod, recipe, stage, fields):
    moved, _ = compiled(the_config(recipe, **fields), pod, stage)
    assert not moved.collectives
    assert moved.memory > 0


def test_the_answer(pod):
    """Of the exact CRF, whose work is known: 54 by 54 pixels, 9 labels, ten iterations and
    one more for its sums.
    """
    config = the_config(CAM, **{"refine.name": "crf", "refine.crf.iterations": 10})
    first, classes, rates, crf = ask(config, pod, ["labels"])
    assert first.startswith("Compiling 1 programs (labels) for v5e-4, one after the other: ")
    assert "8 classes, photographs of at most 54x54 pixels, train 400, val 100" in classes
    assert "none is measured" in rates
    what, work, memory, collectives, seconds = crf.strip().splitlines()
    assert what == "labels: an exact CRF of 1 maps of 54x54, 9 labels, on one device"
    padded = 4096  # two tiles of 2048 queries
    products = 2 * padded**2 * (5 + 1) + 10 * 2 * padded**2 * (5 + 9)
    assert float(re.search(r"([\d,.]+) GFLOP", work)[1]) > products / 1e9
    assert float(re.search(r"([\d,.]+) GFLOP", work)[1]) < 1.5 * products / 1e9
    assert float(re.search(r"([\d,.]+) MB of memory a device", memory)[1]) > 0
    assert collectives.strip() == "no collectives"
    assert "computed, not measured: " in seconds
    assert "500 times" in seconds
