"""VOC on two cores: the four cells of the ablation at small size, under ten minutes a run.

    python -m experiments.ablation --config=configs/voc_small.py --workdir=runs/ablation --seeds=3 \
        --config.data.root=VOCdevkit --config.model.weights=resnet50.safetensors

Crops of 192 pixels, small batches (on so few photographs the number of steps is what rare classes lack), layer3, layer4 and the
head trained, one scale at inference, CAMs of the official training list and of val. experiments/README.md holds the figures.
"""

from configs.voc import get_config as voc_config
from hfpl_jax.defaults import apply_switches


def get_config(switches=None):
    config = voc_config()
    config.data.label_split = "train"
    config.hfpl.isl_weight = 0.05
    config.train.epochs = 4
    config.train.batch_size = 4
    config.train.crop_size = 192
    config.train.resize_long = (192, 320)
    config.train.momentum = 0.9
    config.train.learning_rate = 0.005
    config.train.multipliers = (("^head/", 6.0),)
    config.train.freeze = ("^backbone/stem/", "^backbone/layer[12]/", "/scale$", "^backbone/.*/bias$")
    config.inference.scales = (1.0,)
    config.inference.long_side = 320
    config.inference.flip = False
    config.run.cam_batch_size = 16
    config.run.log_every = 50
    return apply_switches(config, switches)
