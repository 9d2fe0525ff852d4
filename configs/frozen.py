"""A head on stored features of a frozen backbone, with both losses, to pseudo-labels:
the backbone sees each photograph once, and a training takes minutes on two cores.

    python -m hfpl_jax --config=configs/frozen.py:data=voc --workdir=runs/frozen \
        --config.data.root=VOCdevkit --config.model.weights=resnet50.safetensors
    python -m hfpl_jax --config=configs/frozen.py:data=voc,dinov2 --workdir=runs/dinov2 \
        --config.data.root=VOCdevkit
    python -m hfpl_jax --config=configs/frozen.py:data=voc,clip --workdir=runs/clip \
        --config.data.root=VOCdevkit
    python -m experiments.ablation --config=configs/frozen.py:data=voc,small \
        --workdir=runs/ablation --seeds=5 \
        --config.data.root=VOCdevkit --config.model.weights=resnet50.safetensors

- layer3 and layer4 of a ResNet-50 take 4.8 MB of a square photograph at a long side of
  448, 3.6 MB of one of 4:3: 40 GB of VOC's trainaug and val, 450 GB of the 118,287 and
  5,000 photographs of COCO 2017, before they are compressed. The stage `features` says
  it before it starts, and `--dry_run` as well; both name what would take less: one layer,
  `--config.method.probe.channels=256`, which projects each to 256 channels at random (a
  sixth of it), or a smaller `--config.method.probe.long_side`.
- `dinov2`: DINOv2's small transformer, patches of 14 pixels. `clip`: the image tower of
  CLIP's ViT-B/16. Both fuse the last block with the one two thirds of the way, and take
  their weights from the Hugging Face Hub, under timm's names. Not yet measured.
- `data=voc`, the default, `data=coco` and `data=folder` as in configs/cam.py;
  `data=scenes`: a small backbone of random numbers, to see whether it runs.
- `small`: two cores, some hundred photographs.
- `isl=0,fsl=0` is the head without the losses, `debug` a quick look.

CAMs are made of the stored features too, as long as `--config.inference.long_side` is
that of the features, with one scale and without mirror images. Several runs share the
features where `--config.run.features` names a folder for them.
"""

from hfpl_jax.defaults import apply_switches, default_config

DINOV2 = {
    "model.backbone": "dinov2_small14",
    "model.weights": "hf://timm/vit_small_patch14_dinov2.lvd142m",
}

CLIP = {
    "model.backbone": "clip_base16",
    "model.weights": "hf://timm/vit_base_patch16_clip_224.openai",
}

SMALL = {
    "data.label_split": "train",  # of VOC the official list alone
    "hfpl.isl_weight": 0.05,
    "method.probe.long_side": 336,
    "inference.long_side": 336,
    "train.crop_size": 224,
    "run.log_every": 50,
}

OF_SCENES = {
    "method.probe.long_side": 112,
    "method.probe.width": 64,
    "inference.long_side": 112,
    "inference.scales": (1.0,),
    "train.optimizer": "adamw",
    "train.learning_rate": 1e-3,
}

OF_DEBUG = {
    "method.probe.long_side": 224,
    "method.probe.width": 32,
    "inference.long_side": 224,
    "train.epochs": 1,
    "train.batch_size": 8,
    "train.crop_size": 96,
}


def get_config(switches=None):
    config = default_config()
    config.method.name = "probe"
    config.hfpl.isl_weight = 0.2
    config.hfpl.fsl_weight = 1.0

    config.train.epochs = 10
    config.train.batch_size = 16
    config.train.crop_size = 320
    config.train.optimizer = "adamw"
    config.train.schedule = "cosine"
    config.train.learning_rate = 1e-3
    config.train.weight_decay = 0.01
    config.train.multipliers = ()
    config.inference.scales = (1.0,)
    config.inference.long_side = 448
    config.inference.flip = False
    config.run.checkpoint_every = 1000
    presets = {
        "dinov2": DINOV2,
        "clip": CLIP,
        "small": SMALL,
        "data=scenes": OF_SCENES,
        "debug": OF_DEBUG,
    }
    return apply_switches(config, switches, presets, data="voc")
