"""The first run: generated scenes, a small network from random weights, every stage; a
few minutes on two cores.

    python -m hfpl_jax --config=configs/quickstart.py --workdir=runs/quickstart

Switches: `configs/quickstart.py:isl=0,fsl=0` is the plain CAM baseline;
`configs/quickstart.py:debug` takes seconds.
"""

from hfpl_jax.defaults import apply_switches, default_config


def get_config(switches=None):
    config = default_config()
    config.data.name = "scenes"
    config.data.options = {"train_size": 400, "val_size": 100, "size": 128}

    config.model.depth = 18
    config.model.width = 32
    config.model.output_stride = 8
    config.model.weights = "random"

    config.train.epochs = 16
    config.train.crop_size = 96
    config.train.resize_long = (96, 128)
    config.train.jitter = False  # there is no other light than the painter's
    config.train.clip = 3.0  # just above the longest gradient, the first one's 2.9
    config.train.learning_rate = 0.05
    config.train.momentum = 0.9
    config.train.multipliers = ()

    config.inference.scales = (0.75, 1.0)
    config.run.cam_batch_size = 16
    config.run.padded_shapes = 2

    debug = {
        "data.options": {"train_size": 24, "val_size": 8, "size": 128},
        "train.epochs": 1,
        "train.batch_size": 8,
    }
    return apply_switches(config, switches, debug=debug)
