"""VOC on a laptop: the losses compared at small size, minutes a run on two cores.

    python -m experiments.ablation --config=configs/voc_small.py --workdir=runs/ablation \
        --config.data.root=VOCdevkit --config.model.weights=resnet50.safetensors

Crops of 224 pixels, one scale at inference, CAMs of the official training list alone. experiments/README.md holds the figures
of a 1,006-photograph part of VOC.
"""

from configs.voc import get_config as voc_config


def get_config(switches=None):
    config = voc_config(switches)
    config.data.label_split = "train"
    config.train.epochs = 2
    config.train.crop_size = 224
    config.train.resize_long = (224, 352)
    config.train.freeze = ("^backbone/stem/", "^backbone/layer[12]/", "/scale$", "^backbone/.*/bias$")
    config.inference.scales = (1.0,)
    config.inference.long_side = 384
    config.inference.flip = False
    config.run.cam_batch_size = 16
    return config
