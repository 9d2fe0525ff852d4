"""VOC on two cores: the four cells of the ablation at small size, twelve minutes a run.

    python -m experiments.ablation --config=configs/voc_small.py --workdir=runs/ablation \
        --seeds=3 --config.data.root=VOCdevkit --config.model.weights=resnet50.safetensors

Crops of 192 pixels, small batches (on so few photographs the number of steps is what
rare classes lack), layer3, layer4 and the head trained, one scale at inference, CAMs of
the official training list and of val. experiments/notes/voc_small.md holds the
figures.
"""

from configs.voc import get_config as voc_config
from hfpl_jax.defaults import apply_switches

TWO_CORES = {
    "data.label_split": "train",
    "hfpl.isl_weight": 0.05,
    "train.epochs": 4,
    "train.batch_size": 4,
    "train.crop_size": 192,
    "train.resize_long": (256, 448),
    "train.sgd.momentum": 0.9,
    "train.learning_rate": 0.005,
    "train.multipliers": ((r"^(?!backbone/)", 20.0),),
    "train.freeze": ("^backbone/stem/", "^backbone/layer[12]/", "/scale$", "^backbone/.*/bias$"),
    "inference.scales": (1.0,),
    "inference.long_side": 448,
    "inference.flip": False,
    "run.cam_batch_size": 16,
    "run.log_every": 50,
}


def get_config(switches=None):
    config = voc_config()
    config.update_from_flattened_dict(TWO_CORES)
    return apply_switches(config, switches)
