"""MCOF with the HFPL losses: rounds of a region network and a segmentation network.

    python -m hfpl_jax --config=configs/mcof.py:data=voc --workdir=runs/mcof \
        --config.data.root=VOCdevkit --config.model.weights=resnet50.safetensors
    python -m hfpl_jax --config=configs/mcof.py:data=scenes --workdir=runs/mcof_scenes

A round finds seeds in the CAMs, learns from them what superpixels of a class have in
common, and trains a segmentation network on the superpixels that it then names; what
that network sees takes the place of the CAMs in the next round. Every network starts
from the weight file in every round. `config.rounds` and `config.refine.name` do the same
for any recipe: this one is CAM with `regions`.

The paper's body was not within reach, nor a program: rounds are the paper's, all numbers
our reading. It starts from VGG16 or ResNet-101 and needs a saliency model; here the CAM
is the prior in its place.

- `small`: two rounds on some hundred photographs; not run yet.
- `data=voc`, the default, `data=coco`, `data=folder` and `data=scenes` as in
  configs/cam.py; a folder has one round until it has photographs to score the network
  on: `--config.data.val_split=val --config.segmentation.epochs=30 --config.rounds=5`.
- `data=scenes`: three rounds, 15 minutes of a core (experiments/notes/mcof_scenes.md).
- `isl=0,fsl=0` is MCOF alone, `debug` a quick look.
"""

from hfpl_jax.defaults import (
    DEBUG,
    DEBUG_FINAL,
    SMALL,
    SMALL_FINAL,
    apply_switches,
    default_config,
)

OF_SMALL = (
    SMALL
    | SMALL_FINAL
    | {
        "rounds": 2,
        "refine.regions.mining.epochs": 3,
        "refine.regions.mining.batch_size": 4,
        "refine.regions.mining.crop_size": 192,
        "refine.regions.mining.freeze_stages": 3,
    }
)

OF_SCENES = {
    "rounds": 3,
    "refine.regions.count": 150,  # of about a hundred pixels
    "segmentation.epochs": 8,
}

OF_DEBUG = (
    DEBUG
    | DEBUG_FINAL
    | {
        "rounds": 2,
        "refine.regions.mining.epochs": 1,
        "refine.regions.mining.batch_size": 8,
        "refine.regions.mining.crop_size": 128,
    }
)


def get_config(switches=None):
    config = default_config()
    config.method.name = "cam"
    config.hfpl.isl_weight = 0.2
    config.hfpl.fsl_weight = 1.0

    config.rounds = 5
    config.refine.name = "regions"
    config.export.formats = ("array_record",)
    config.segmentation.epochs = 30
    config.segmentation.frozen_batch_norm = True

    presets = {
        "small": OF_SMALL,
        "data=scenes": OF_SCENES,
        "debug": OF_DEBUG,
        "data=folder": {"segmentation.epochs": 0, "rounds": 1},  # a network is scored on val
    }
    return apply_switches(config, switches, presets, data="voc")
