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

    config.model.backbone = "resnet18"
    config.model.resnet.width = 32
    config.model.resnet.output_stride = 8
    config.model.weights = "random"

    walk = config.refine.random_walk
    for training in (config.train, walk.affinity, config.segmentation):
        training.crop_size = 96
        training.clip = 3.0  # just above the classifier's longest gradient, the first one's 2.9
        training.learning_rate = 0.05
        training.momentum = 0.9
        training.multipliers = ()
    config.train.epochs = 16
    config.train.resize_long = (96, 128)
    config.train.jitter = False  # there is no other light than the painter's

    # Read with config.refine.name = "random_walk"
    walk.steps = 16  # the grid has 16 by 16 cells
    walk.affinity.epochs = 4

    # Read with config.segmentation.epochs above 0
    config.segmentation.batch_size = 8
    config.segmentation.learning_rate = 0.03
    config.segmentation.batch_norm_momentum = 0.1  # from random weights in few steps
    config.segmentation.scale_range = (0.75, 1.25)
    config.segmentation.scales = (0.75, 1.0)

    config.inference.scales = (0.75, 1.0)
    config.run.cam_batch_size = 16
    config.run.padded_shapes = 2

    debug = {
        "data.options": {"train_size": 24, "val_size": 8, "size": 128},
        "train.epochs": 1,
        "train.batch_size": 8,
    }
    return apply_switches(config, switches, {"debug": debug})
