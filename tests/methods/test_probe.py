"""The probe: what it refuses, what learns, and its losses on stored features."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from end_to_end import recipe, tiny
from staged_backbone import Stages

from hfpl_jax.build import (
    build_network,
    frozen_patterns,
    frozen_variables,
    make_network,
    pretrained_backbone,
    variable_shapes,
)
from hfpl_jax.errors import InputError
from hfpl_jax.losses import (
    feature_similarity_loss,
    gap_loss,
    importance_sampling_loss,
    similarity_scores,
)
from hfpl_jax.methods.hfpl import Hfpl
from hfpl_jax.methods.probe import Probe
from hfpl_jax.models.preprocess import colours
from hfpl_jax.settings import Settings
from hfpl_jax.stages.table import all_stages
from hfpl_jax.training.objective import Batch
from hfpl_jax.training.optimizer import split_frozen

SENTENCES = [
    (
        {"method.probe.layers": ("layer3", "layr4")},
        "config.method.probe.layers names 'layr4', but resnet50 has stem, layer1, layer2, layer3, "
        "layer4 (did you mean 'layer4'?).",
    ),
    (
        {"method.probe.layers": ("layer1", "layer2", "layer3", "layer4", "stem")},
        "config.method.probe.layers = ('layer1', 'layer2', 'layer3', 'layer4', 'stem') must be a "
        "tuple of at most 4 names, each there once.",
    ),
    (
        {"method.probe.layers": ("layer4", "layer4")},
        "config.method.probe.layers = ('layer4', 'layer4') must be a tuple of at most 4 names, "
        "each there once.",
    ),
    (
        {"method.probe.channels": 1025},
        "config.method.probe.channels = 1025, but layer3 of resnet50 has 1024. Set it to 1024 at "
        "most, or to 0 for no projection.",
    ),
    (
        {"model.backbone": "dinov2_small14", "method.probe.upsample": 4},
        "config.method.probe.upsample = 4 does not divide the stride of the finest feature of "
        "dinov2_small14, 14 pixels. Set it to a smaller one.",
    ),
    (
        {"model.backbone": "clip_base16", "method.probe.layers": ("layer4",)},
        "config.method.probe.layers names 'layer4', but clip_base16 has block1, block2, block3, "
        "block4, block5, block6, block7, block8, block9, block10, block11, block12, norm.",
    ),
    (
        {"model.suppression": "0.5"},
        "config.model.suppression = '0.5' has to be learnt with, but the backbone of Probe is "
        "frozen. Leave it empty.",
    ),
    (
        {"instances.enabled": True},
        "config.instances.enabled = True traces peaks back through a network that has learnt them, "
        "but the backbone of Probe is frozen. Set it to False, or choose another "
        "config.method.name.",
    ),
    (
        {"train.init_from": "runs/a/train"},
        "config.train.init_from = 'runs/a/train' may bring another backbone than the one whose "
        "features Probe has stored. Leave it empty: a training of the head alone is short.",
    ),
    (
        {"model.weights": ""},
        "config.model.weights is empty, but the frozen backbone is made of it. Set it to a file of "
        "ImageNet weights, such as resnet50.safetensors, or to 'random'.",
    ),
    (
        {"method.probe.long_side": 224},
        "config.train.crop_size = 320 is more than 224 pixels, the long side at which Probe "
        "has stored photographs: crops would be padding for the most part. Set it to 224 at most, "
        "such as 149.",
    ),
]


@pytest.mark.parametrize(("fields", "sentence"), SENTENCES)
def test_a_slip_is_a_sentence(fields, sentence):
    config = recipe("frozen", "data=voc", model__weights="resnet50.safetensors")
    config.update_from_flattened_dict(fields)
    with pytest.raises(InputError) as told:
        Settings.of(config)
    assert str(told.value) == sentence


@pytest.mark.parametrize(
    ("switches", "layers"),
    [
        ("", ("layer3", "layer4")),
        ("dinov2", ("block8", "norm")),
        ("clip", ("block8", "norm")),
    ],
)
def test_the_head_alone_learns(switches, layers):
    config = recipe("frozen", f"data=voc,{switches}")
    network = build_network(config, 20)
    assert network.frozen.layers == layers
    params = variable_shapes(network)["params"]
    patterns = frozen_patterns(config, "train", network)
    trained, frozen = split_frozen(params, patterns)
    names = {"decoder0/kernel", "head/kernel"}
    for layer in layers:
        names |= {f"project_{layer}/kernel", f"gain_{layer}"}
    assert set(trained) == names
    assert all(path.startswith("backbone/") for path in frozen)
    # Another network of the same run learns as it does beside any other method.
    final = make_network(config, "segmentation", 20)
    assert frozen_patterns(config, "segmentation", final) != patterns


def test_the_backbone_is_that_of_the_features_for_every_seed():
    config = tiny(method__name="probe")
    network = build_network(config, 3)
    first = frozen_variables(config, network)
    config.seed = 1
    second = frozen_variables(config, network)
    stored = pretrained_backbone(config, network.backbone)
    for name, part in stored.items():
        for made in (first, second):
            jax.tree.map(np.testing.assert_array_equal, made[name]["backbone"], part)
    head = [each["params"]["head"]["kernel"] for each in (first, second)]
    assert np.abs(head[0] - head[1]).max() > 0.01


def test_the_fields_that_its_stages_read():
    config = recipe("frozen", "data=voc", model__weights="resnet50.safetensors")
    by_name = {stage.name: stage for stage in all_stages()}
    read = set(by_name["features"].fields_read(config))
    assert {path for path in read if path.startswith("method.")} == {
        "method.probe.channels",
        "method.probe.layers",
        "method.probe.long_side",
    }
    assert {"model.weights", "model.dtype", "model.backbone"} <= read
    assert not {"seed", "model.dropout", "model.frozen_batch_norm", "train.epochs"} & read
    config.model.backbone, config.refine.name = "dinov2_small14", "random_walk"
    paths = {name: stage.fields_read(config) for name, stage in by_name.items()}
    drops = {name for name, read in paths.items() if "model.vit.drop_path" in read}
    # Whose backbones learn.
    assert drops == {"pretrain", "affinity", "refinement", "mining", "segmentation"}
    config.model.backbone = "resnet50"
    learnt = set(by_name["train"].fields_read(config))
    assert {"method.probe.width", "train.crop_size", "model.dropout", "hfpl.sigma"} <= learnt
    assert not {"train.resize_long", "train.jitter", "train.freeze_stages"} & learnt


@pytest.mark.parametrize("upsample", [1, 2])
def test_both_losses_work_on_stored_features(upsample):
    """FSL at the resolution of the decoder, of the stored colours."""
    rng = np.random.default_rng(0)
    method = Probe(layers=("layer2", "layer4"), width=5, upsample=upsample)
    network = method.network(Stages(), 4, frozen_batch_norm=True, dropout=0.0)
    variables = jax.jit(network.init)(jax.random.key(0), jnp.zeros((1, 32, 32, 3)))
    stored = {
        "layer2": rng.normal(size=(2, 4, 4, 8)).astype(np.float16),
        "layer4": rng.normal(size=(2, 2, 2, 12)).astype(np.float16),
    }
    labels = jnp.asarray([[1, 0, 1, 0], [0, 0, 0, 1]], jnp.float32)
    images = jnp.asarray(rng.normal(size=(2, 16, 16, 3)), jnp.float32)
    batch = Batch(images, labels, jnp.ones((2, 16, 16), bool), jnp.zeros(()), (), {}, stored)
    key = jax.random.key(3)
    apply = functools.partial(network.apply, variables)
    logits = apply(stored, method="told").logits
    assert logits.shape == (2, 4 * upsample, 4 * upsample, 4)
    made = jax.jit(
        lambda batch: Hfpl(method, isl_weight=0.25, fsl_weight=0.5).predict(apply, batch, key)
    )(batch)
    sampled = importance_sampling_loss(jax.random.fold_in(key, 0), logits, labels, num_samples=10)
    similar = feature_similarity_loss(
        colours(images, logits.shape[1:3]), similarity_scores(logits, labels), mu=2.5, sigma=5.0
    )
    expected = 0.75 * gap_loss(logits, labels) + 0.25 * sampled
    np.testing.assert_allclose(made.losses["classification"], expected, rtol=1e-5)
    np.testing.assert_allclose(made.losses["feature_similarity"], similar, rtol=1e-4)
    assert made.weights == {"classification": 1.0, "feature_similarity": 0.5}
