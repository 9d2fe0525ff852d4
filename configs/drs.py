"""DRS with the HFPL losses, its refinement learning, to pseudo-labels.

    python -m hfpl_jax --config=configs/drs.py:data=voc --workdir=runs/drs \
        --config.data.root=VOCdevkit --config.model.weights=resnet50.safetensors
    python -m experiments.ablation --config=configs/drs.py:data=voc,small \
        --workdir=runs/ablation --cells=GAP,+both \
        --config.data.root=VOCdevkit --config.model.weights=resnet50.safetensors

This is the `modern` preset, on a ResNet-50, of which what stands behind 3x3 convolutions
is suppressed: our reading, as the paper has a VGG16.

- `published` has the network, the rates and the losses of the published program: a VGG16
  of output stride 8 with torchvision's weights. There photographs are squeezed into
  squares, the epoch is chosen on masks, and the background is that of saliency maps;
  here none of it is done, and the second network sees photographs at their own size.
- `small`: one core, 15 to 24 minutes a run with other work beside it, 19.0 mIoU on train
  and 17.7 on val, without the losses 18.6 and 17.3, one seed: too few steps for its head
  (experiments/notes/drs_small.md).
- `data=voc`, the default, `data=coco`, `data=folder` and `data=scenes` as in
  configs/cam.py.
- `isl=0,fsl=0` is DRS alone, `debug` a quick look.
"""

from hfpl_jax.defaults import DEBUG, SMALL, apply_switches, default_config

PUBLISHED = {
    "model.backbone": "vgg16",
    "hfpl.sigma": 5.0,
    "hfpl.peak_floor": 0.0,
    "train.batch_size": 10,
    "train.crop_size": 320,
    "train.resize_long": (384, 384),
    "train.schedule": "step",
    "train.learning_rate": 0.001,
    "train.sgd.nesterov": True,
    "train.multipliers": (
        ("^(?!backbone/).*/bias$", 20.0),
        ("^(?!backbone/)|/suppression", 10.0),
        ("/bias$", 2.0),
    ),
    "train.clip": 0.0,
    "train.skip_above": 0.0,
    "train.freeze_stages": 0,
    "inference.long_side": 320,
    "inference.scales": (0.8, 1.0, 1.2),
    "inference.flip": False,
    "refine.refinement_learning.refinement.batch_size": 10,
    "refine.refinement_learning.refinement.schedule": "step",
    "refine.refinement_learning.refinement.step.shares": (9 / 30, 19 / 30),
    "refine.refinement_learning.refinement.clip": 0.0,
    "refine.refinement_learning.refinement.skip_above": 0.0,
}

_NEW = (("^(?!backbone/)|/suppression", 10.0),)
"""The head and what is suppressed are in no weight file."""


OF_SMALL = SMALL | {
    "train.epochs": 2,
    "train.learning_rate": 0.001,  # from 0.005 on the new layers die: their features are 0
    "train.multipliers": _NEW,
    "refine.refinement_learning.refinement.epochs": 3,
    "refine.refinement_learning.refinement.batch_size": 4,
    "refine.refinement_learning.refinement.crop_size": 192,
    "refine.refinement_learning.refinement.freeze_stages": 3,
}

OF_DEBUG = DEBUG | {
    "refine.refinement_learning.refinement.epochs": 1,
    "refine.refinement_learning.refinement.batch_size": 8,
    "refine.refinement_learning.refinement.crop_size": 128,
}


def get_config(switches=None):
    config = default_config()
    config.method.name = "drs"
    config.model.suppression = "learnable"
    config.hfpl.isl_weight = 0.2
    config.hfpl.fsl_weight = 1.0

    config.train.epochs = 15
    config.train.batch_size = 16
    config.train.learning_rate = 0.001  # as published: ten times that in the new layers
    config.train.sgd.momentum = 0.9
    config.train.multipliers = _NEW
    config.refine.name = "refinement_learning"
    presets = {
        "published": PUBLISHED,
        "small": OF_SMALL,
        "debug": OF_DEBUG,
    }
    return apply_switches(config, switches, presets, data="voc")
