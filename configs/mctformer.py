"""MCTformer with the HFPL losses, to pseudo-labels, on a vision transformer.

    python -m hfpl_jax --config=configs/mctformer.py:data=voc --workdir=runs/mctformer \
        --config.data.root=VOCdevkit \
        --config.model.weights=hf://timm/deit_small_patch16_224.fb_in1k
    python -m experiments.ablation --config=configs/mctformer.py:data=scenes \
        --workdir=runs/ablation --cells=GAP,+both

This is the `modern` preset: MCTformer V2's terms and maps, MCTformer+'s size of images.

- `published` computes what the published program of V2 computes, but for its augmentation
  (RandAugment and erased boxes): crops of 224, position tables resized as there, its
  optimizer and its schedule.
- `plus`: MCTformer+'s ranked pooling, contrast of class tokens and fusion.
- `data=voc`, the default, `data=coco` and `data=folder` as in configs/cam.py, not yet
  measured; `data=scenes`: a small transformer from random weights.
- `isl=0,fsl=0` is MCTformer alone, `debug` a quick look.
"""

from hfpl_jax.defaults import DEBUG, apply_switches, default_config

PUBLISHED = {
    "method.mctformer.positions": "shifted",
    "hfpl.peak_floor": 0.0,
    "train.epochs": 60,
    "train.batch_size": 64,
    "train.crop_size": 224,
    "train.resize_long": (224, 448),
    "train.schedule": "stairs",
    "train.learning_rate": 6.25e-5,
    "train.clip": 0.0,
    "train.skip_above": 0.0,
    "inference.scales": (1.0,),
}

PLUS = {
    "method.mctformer.pooling": "ranked",
    "method.mctformer.fusion": "root",
    "method.mctformer.contrast": 1.0,
    "method.mctformer.blocks": 12,
    "inference.scales": (0.75, 1.0, 1.25),
}

OF_SCENES = {
    "model.backbone": "deit_tiny16",
    "model.vit.depth": 4,
    "train.learning_rate": 1e-3,
    "train.epochs": 80,  # after 20 it does not tell the classes yet
}


def get_config(switches=None):
    config = default_config()
    config.method.name = "mctformer"
    config.model.backbone = "deit_small16"
    config.model.vit.drop_path = 0.1
    config.hfpl.isl_weight = 0.2
    config.hfpl.fsl_weight = 1.0

    config.train.epochs = 20
    config.train.batch_size = 32
    config.train.optimizer = "adamw"
    config.train.schedule = "cosine"
    config.train.learning_rate = 1e-4
    config.train.weight_decay = 0.05
    config.train.no_decay = ("bias$", "/norm", "class_tokens", "positions")
    config.train.multipliers = ()
    config.train.freeze_stages = 0
    config.train.freeze_norms = False
    presets = {
        "published": PUBLISHED,
        "plus": PLUS,
        "data=scenes": OF_SCENES,
        "debug": DEBUG,
    }
    return apply_switches(config, switches, presets, data="voc")
