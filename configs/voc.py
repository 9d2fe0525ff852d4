"""PASCAL VOC 2012: pseudo-labels for trainaug from image labels, with a ResNet-50.

    python -m hfpl_jax --config=configs/voc.py --workdir=runs/voc --config.data.root=VOCdevkit --config.model.weights=resnet50.safetensors

Switches: `configs/voc.py:isl=0,fsl=0` is the plain CAM baseline; `configs/voc.py:debug` goes through all stages in minutes.
"""

from hfpl_jax.defaults import apply_switches, default_config


def get_config(switches=None):
    config = default_config()
    config.data.name = "voc_seg"
    config.data.train_split = "trainaug"
    config.data.score_split = "train"
    names = [name for name in (switches or "").split(",") if name]
    if "debug" in names:
        names.remove("debug")
        config.data.train_split = config.data.label_split = config.data.score_split = "train"
        config.train.epochs = 1
        config.train.crop_size = 160
        config.train.resize_long = (160, 200)
        config.inference.scales = (1.0,)
        config.inference.long_side = 192
    return apply_switches(config, ",".join(names))
