"""Group-WSSS with the HFPL losses, to pseudo-labels: photographs that share a class tell
each other what they see.

    python -m hfpl_jax --config=configs/group.py:data=voc --workdir=runs/group \
        --config.data.root=VOCdevkit --config.model.weights=resnet50.safetensors
    python -m experiments.ablation --config=configs/group.py:data=voc,small \
        --workdir=runs/ablation --cells=GAP,+both \
        --config.data.root=VOCdevkit --config.model.weights=resnet50.safetensors

This is the `modern` preset, on a ResNet-50. Each photograph leads a group once an epoch,
so that an epoch of groups of three shows each photograph three times.

- `published` has the network, the rates and the losses of the published program: a VGG16
  of output stride 8 with torchvision's weights, and partners of just the same labels
  where there are such. There photographs are squeezed into squares and never mirrored,
  maps are written while it trains, and the background is that of saliency maps; here
  none of it is done.
- `small`: one core, 38 minutes a run and more with other work beside it, 26.0 mIoU on
  train and 25.8 on val, without the losses 27.2 and 27.3, one seed
  (experiments/notes/group_small.md).
- `data=voc`, the default, `data=coco`, `data=folder` and `data=scenes` as in
  configs/cam.py.
- `isl=0,fsl=0` is Group-WSSS alone, `debug` a quick look.

A batch is made of whole groups on each device: with groups of three on eight devices
`--config.train.batch_size` is a multiple of 24.
"""

from hfpl_jax.defaults import DEBUG, SMALL, apply_switches, default_config

PUBLISHED = {
    "model.backbone": "vgg16",
    "method.group.share": "labels",
    "hfpl.sigma": 5.0,
    "hfpl.peak_floor": 0.0,
    "train.epochs": 15,
    "train.batch_size": 3,
    "train.crop_size": 256,
    "train.resize_long": (256, 256),
    "train.schedule": "step",
    "train.step.shares": (5 / 15, 10 / 15),
    "train.learning_rate": 0.001,
    "train.sgd.nesterov": True,
    "train.multipliers": (
        ("^(?!backbone/).*/bias$", 20.0),
        ("^(?!backbone/)", 10.0),
        ("/bias$", 2.0),
    ),
    "train.clip": 0.0,
    "train.skip_above": 0.0,
    "train.freeze_stages": 0,
    "inference.long_side": 256,
    "inference.scales": (1.0,),
    "inference.flip": False,
}

_NEW = (("^(?!backbone/)", 10.0),)

OF_SMALL = SMALL | {
    "train.epochs": 2,
    "train.learning_rate": 0.001,
    "train.multipliers": _NEW,
    "train.batch_size": 6,
}

OF_SCENES = {
    "train.epochs": 8,  # as many steps as the others have
    "train.batch_size": 24,
}


def get_config(switches=None):
    config = default_config()
    config.method.name = "group"
    config.hfpl.isl_weight = 0.2
    config.hfpl.fsl_weight = 1.0

    config.train.epochs = 5
    config.train.batch_size = 24
    config.train.learning_rate = 0.001  # as published: ten times that in the new layers
    config.train.multipliers = _NEW
    config.train.sgd.momentum = 0.9
    presets = {
        "published": PUBLISHED,
        "small": OF_SMALL,
        "data=scenes": OF_SCENES,
        "debug": DEBUG | {"train.batch_size": 24},
    }
    return apply_switches(config, switches, presets, data="voc")
