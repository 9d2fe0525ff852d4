"""What the report says of a run is true of every recipe."""

import pytest
from end_to_end import RECIPES, recipe

from hfpl_jax.stages.report_facts import facts

METRICS = {
    "threshold": 0.21,
    "threshold_rule": "best mIoU on the masks of training photographs",
    "image_labels": "given image labels",
}


def said(config):
    return facts(config, dataset="d", label_split="trainaug", metrics=METRICS)


RESNET50 = "resnet50 (output_stride 16, version v1.5, dilation exact, width 64), from resnet50.npz"
RESNET18 = "resnet18 (output_stride 8, version v1.5, dilation exact, width 32), from random weights"
DEIT_TINY = "deit_tiny16 (depth 4, drop_path 0.1), from random weights"
DEIT_SMALL = "deit_small16 (depth 12, drop_path 0.1), from resnet50.npz"
TRANSFORMERS = {
    "data=voc,clip": "clip_base16 (depth 12, drop_path 0.0), from resnet50.npz",
    "data=voc,dinov2": "dinov2_small14 (depth 12, drop_path 0.0), from resnet50.npz",
}
STORED = {
    "": "layer3, layer4 of a long side of 448",
    "data=scenes": "layer3, layer4 of a long side of 112",
    "data=voc,small": "layer3, layer4 of a long side of 336",
    **dict.fromkeys(TRANSFORMERS, "block8, norm of a long side of 448"),
}
"""Of configs/frozen.py, by its switches."""
METHODS = {
    "drs": "DRS",
    "frozen": "Probe",
    "group": "Group-WSSS",
    "mctformer": "MCTformer",
    "ppc": "PPC",
    "prm": "PRM, logits pooled by peaks",
    "puzzle": "PuzzleCAM",
    "seam": "SEAM",
    "sipe": "SIPE",
}


@pytest.mark.parametrize(
    ("name", "switches"), [each for each in RECIPES if "published" not in each[1]]
)
def test_every_recipe(name, switches):
    scenes = name == "quickstart" or switches == "data=scenes"
    weights = {} if scenes else {"model__weights": "/data/resnet50.npz"}
    config = recipe(name, switches, **weights)
    told = said(config)
    assert told["Dataset"] == "d, pseudo-labels for trainaug"
    network = RESNET18 if scenes else RESNET50
    assert told.get("Stored features", "") == STORED.get(switches, STORED[""]) * (name == "frozen")
    network = TRANSFORMERS.get(switches, network)
    if name == "mctformer":
        network = DEIT_TINY if scenes else DEIT_SMALL
    cut = ", suppression learnable" if name == "drs" else ""
    assert told["Network"] == network.replace(", from", f"{cut}, from")
    pooled = ", logits pooled by ranked" if "plus" in switches else ""
    assert told["Method"] == METHODS.get(name, "CAM") + pooled
    assert told["Background threshold"] == "0.21: best mIoU on the masks of training photographs"
    assert told["Importance sampling loss"] == f"weight {config.hfpl.isl_weight:g}, 10 samples"
    assert "Instances" not in told
    assert ("Final network" in told) == (name in ("seam", "mcof") and switches != "data=folder")
    assert told.get("Rounds", "") == (str(config.rounds) if config.rounds > 1 else "")


def test_the_published_recipe():
    told = said(recipe("seam", "published", model__weights="/data/ilsvrc.params"))
    assert told["Network"] == "resnet38 (width 64), from ilsvrc.params"
    assert told["Training"] == "8 epochs, batch 8, crop 448, seed 0"
    assert told["Pseudo-labels"] == (
        "random walk of 64 steps from (1 - CAM)^6, affinities to the power 8, learnt from the CRF "
        "of 10 iterations (80 pixels, 13 grey levels, weight 10)"
    )
    assert told["Final network"] == (
        "DeepLab v1 on resnet38 (width 64), 19 epochs, batch 10, crop 448, seed 0; scales 0.5, "
        "0.75, 1, 1.25, 1.5, 1.75, mirrored too, CRF of 1 iteration (32 pixels, 13 grey levels, "
        "weight 10)"
    )


def test_another_head_and_loss_of_the_final_network():
    fields = {
        "segmentation.epochs": 8,
        "segmentation.head": "ocr",
        "segmentation.loss": "lal",
        "segmentation.lal.k": 2.0,
    }
    assert said(recipe("quickstart", "", **fields))["Final network"] == (
        "OCR on resnet18 (output_stride 8, version v1.5, dilation exact, width 32), 8 epochs, "
        "batch 8, crop 96, seed 0, locally adaptive loss of windows of 7, k 2; scales 0.75, 1, "
        "mirrored too, CRF of 1 iteration (67 pixels, 3 grey levels, weight 4)"
    )


def test_losses_that_are_off_and_fields_that_are_on():
    told = said(recipe("cam", "isl=0,fsl=0", refine__threshold__ignore_band=(0.1, 0.3)))
    assert told["Importance sampling loss"] == told["Feature similarity loss"] == "none"
    assert told["CAMs"] == "given image labels, scales 0.5, 1, 1.5, 2, mirrored too"
    assert told["Pseudo-labels"] == "CAMs above the threshold, ignored from 0.1 to 0.3"
    told = said(recipe("cam", instances__enabled=True))
    assert told["Instances"] == (
        "components and superpixels of the pseudo-labels, peaks above a logit of 0 and 0.5 of the "
        "highest"
    )
    changed = {"instances.proposals": "/data/cob.jsonl", "instances.enabled": True}
    told = said(recipe("prm", "published", **changed))
    assert told["Instances"] == "proposals of cob.jsonl, peaks above a logit of 30"
    told = said(
        recipe("cam", "small", hfpl__sigma=0.0, hfpl__window=20, train__init_from="runs/a/train")
    )
    assert told["Feature similarity loss"] == "weight 1, no spatial weight, mu 2.5, window 20"
    assert told["CAMs"] == "given image labels, scale 1 of a long side of 448"
    assert told["Network"].endswith("from runs/a/train")


def test_features_that_are_projected():
    said_of = said(recipe("frozen", "data=voc", method__probe__channels=64, model__weights="a.npz"))
    assert said_of["Stored features"] == (
        "layer3, layer4 of a long side of 448, projected to 64 channels"
    )


def test_photographs_that_are_labelled_and_not():
    config = recipe("cam", "data=scenes", segmentation__epochs=8, model__weights="random")
    learnt = {"labelled": 120, "unlabelled": 280, "steps": 100}

    def final(**fields):
        config.update_from_flattened_dict({f"segmentation.{name}": fields[name] for name in fields})
        told = facts(config, dataset="d", label_split="t", metrics=METRICS, learnt=learnt)
        return told["Final network"].partition("; ")[0].partition("seed 0")[2]

    assert final() == ""
    assert final(objective="cotraining") == (
        ", co-training of two networks (120 labelled and 280 unlabelled photographs)"
    )
    assert final(objective="cycle") == (
        ", CycleGAN's semi-supervision, modern (120 labelled and 280 unlabelled photographs)"
    )
    assert final(**{"objective": "supervised", "supervised.share": 0.5}) == (
        ", of confident photographs alone (120 labelled and 280 unlabelled photographs)"
    )
