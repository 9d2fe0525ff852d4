"""The first run: generated scenes, a small network from random weights, every stage; a
few minutes on two cores.

    python -m hfpl_jax --config=configs/quickstart.py --workdir=runs/quickstart

Switches: `configs/quickstart.py:isl=0,fsl=0` is the plain CAM baseline;
`configs/quickstart.py:debug` takes seconds. Any other method does the same with
`data=scenes`, as in `configs/seam.py:data=scenes`.
"""

from hfpl_jax.defaults import DATASETS, apply_switches, default_config

SCENES = DATASETS["scenes"]


def get_config(switches=None):
    config = default_config()
    config.update_from_flattened_dict(dict(SCENES))
    debug = {
        "data.options": SCENES["data.options"] | {"train_size": 24, "val_size": 8},
        "train.epochs": 1,
        "train.batch_size": 8,
        "pretrain.batch_size": 16,
    }
    return apply_switches(config, switches, {"debug": debug})
