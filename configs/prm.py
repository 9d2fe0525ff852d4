"""PRM's classifier with the HFPL losses, to pseudo-labels: logits pooled over the peaks
of their map.

    python -m hfpl_jax --config=configs/prm.py:data=voc --workdir=runs/prm \
        --config.data.root=VOCdevkit --config.model.weights=resnet50.safetensors
    python -m experiments.ablation --config=configs/prm.py:data=voc,small \
        --workdir=runs/ablation --cells=GAP,+both \
        --config.data.root=VOCdevkit --config.model.weights=resnet50.safetensors

This is the `modern` preset, at output stride 16. `--config.instances.enabled=True`
finds instances by their peaks.

- `published` has the network, the rates and the loss of the published program, at output
  stride 32. There photographs of VOC's trainval are squeezed into squares; here those of
  trainaug are padded to squares, and peaks may lie in the padding.
- `small`: the photographs, crops and steps of configs/cam.py's; one core, 24 minutes a
  run with other work beside it, 28.8 mIoU of CAMs on train and 32.0 on val, PRM alone
  25.1 and 27.6, one seed (experiments/notes/prm_small.md).
- `data=voc`, the default, `data=coco`, `data=folder` and `data=scenes` as in
  configs/cam.py.
- `isl=0,fsl=0` is peak stimulation alone, `debug` a quick look.
"""

from hfpl_jax.defaults import DEBUG, SMALL, apply_switches, default_config

PUBLISHED = {
    "method.prm.pooling": "peaks_undivided",  # every peak got the whole gradient
    "model.resnet.output_stride": 32,
    "model.frozen_batch_norm": False,
    "hfpl.sigma": 1.25,  # as far in pixels as 5 at output stride 8
    "hfpl.peak_floor": 0.0,
    "train.epochs": 20,
    "train.resize_long": (448, 448),
    "train.jitter": False,
    "train.learning_rate": 0.0001,
    "train.multipliers": (("^(?!backbone/)", 100.0),),
    "train.poly.power": 0.0,  # it stays what it is
    "train.weight_decay": 0.0001,
    "train.clip": 0.0,
    "train.skip_above": 0.0,
    "train.freeze_stages": 0,
    "train.freeze_norms": False,
    "instances.peak_threshold": 30.0,  # read with instances.enabled
    "instances.peak_share": 0.0,
}


def get_config(switches=None):
    config = default_config()
    config.method.name = "prm"
    config.hfpl.isl_weight = 0.2
    config.hfpl.fsl_weight = 1.0

    config.train.epochs = 4
    config.train.learning_rate = 0.005
    config.train.sgd.momentum = 0.9
    presets = {"published": PUBLISHED, "small": SMALL, "debug": DEBUG}
    return apply_switches(config, switches, presets, data="voc")
