import jax
import jax.numpy as jnp
import numpy as np
import pytest
from pyramid import Pyramid
from staged_backbone import Stages
from test_resnet import photographs

from hfpl_jax.models.sipe_network import SipeNetwork

SIDES = ("side_layer1", "side_layer2", "side_layer3", "side_layer4")


@pytest.fixture(scope="module")
def network():
    return SipeNetwork(Stages(), 3)


@pytest.fixture(scope="module")
def variables(network):
    return jax.jit(network.init)(jax.random.key(0), jnp.zeros((1, 32, 32, 3)))


def test_the_hierarchy_is_normalised_and_then_resized(network, variables):
    """Of a whole number of cells: at a quarter of the size the mean of pixels 4i + 1 and
    4i + 2, at half of it of 2i and 2i + 1, on both axes.
    """
    images, params = photographs(2, 32, 48, 3), variables["params"]
    output = jax.jit(network.apply)(variables, images)
    features = Stages().apply({"params": params["backbone"]}, images)
    expected = []
    for name, read in (("layer1", (1, 2, 4)), ("layer2", (0, 1, 2)), ("layer3", (0, 0, 1))):
        side = np.asarray(features[name], np.float64) @ params[f"side_{name}"]["kernel"]
        side = side / (np.linalg.norm(side, axis=-1, keepdims=True) + 1e-5)
        first, second, step = read
        side = (side[:, first::step] + side[:, second::step]) / 2
        expected.append((side[:, :, first::step] + side[:, :, second::step]) / 2)
    assert output.hierarchy.shape == (2, 2, 3, 768)
    np.testing.assert_allclose(
        output.hierarchy[..., :512], np.concatenate(expected, axis=-1), atol=1e-5
    )
    np.testing.assert_allclose(np.linalg.norm(output.hierarchy[..., 512:], axis=-1), 1, atol=1e-3)
    np.testing.assert_array_equal(output.feature, features["layer4"])
    np.testing.assert_allclose(
        output.logits, features["layer4"] @ params["head"]["kernel"], atol=1e-5
    )
    assert output.logits.dtype == output.hierarchy.dtype == jnp.float32
    assert output.valid.all()


def test_kernels_start_within_one_over_the_root_of_their_inputs(variables):
    params = variables["params"]
    shapes = {name: params[name]["kernel"].shape for name in ("head", *SIDES)}
    assert shapes == {
        "head": (12, 3),
        "side_layer1": (6, 128),
        "side_layer2": (8, 128),
        "side_layer3": (10, 256),
        "side_layer4": (12, 256),
    }
    assert all(set(params[name]) == {"kernel"} for name in shapes)
    for name in SIDES:
        kernel = np.abs(params[name]["kernel"])
        bound = shapes[name][0] ** -0.5
        assert 0.98 * bound < kernel.max() <= bound
        assert kernel.mean() == pytest.approx(bound / 2, rel=0.1)  # uniform
    assert 0.8 * 12**-0.5 < np.abs(params["head"]["kernel"]).max() <= 12**-0.5


def test_the_hierarchy_trains_the_sides_alone(network, variables):
    images = photographs(1, 32, 32, 3)

    def of(name):
        def sum_of(params, images):
            output = network.apply({"params": params}, images)
            return jnp.sum(jnp.sin(3.0 * getattr(output, name)))

        slopes, to_images = jax.jit(jax.grad(sum_of, argnums=(0, 1)))(variables["params"], images)
        reached = {
            f"{name}/{layer}" if name == "backbone" else name
            for name, tree in slopes.items()
            for layer, leaves in (tree.items() if name == "backbone" else [(name, tree)])
            if any(np.any(leaf) for leaf in jax.tree.leaves(leaves))
        }
        return reached, np.any(to_images)

    assert of("hierarchy") == ({*SIDES}, False)
    assert of("logits") == ({"head", "backbone/layer4"}, True)


def test_features_of_0_have_finite_gradients(network, variables):
    def total(params):
        return jnp.sum(network.apply({"params": params}, jnp.zeros((1, 16, 16, 3))).hierarchy)

    nothing = jax.tree.map(jnp.zeros_like, variables["params"]["backbone"])
    params = {**variables["params"], "backbone": nothing}
    value, slopes = jax.value_and_grad(total)(params)
    assert float(value) == 0.0
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(slopes))


def test_padded_image_equals_the_image_alone(network, variables):
    """The padding holds noise: it must not matter."""
    images = photographs(2, 64, 80, 3)
    apply = jax.jit(network.apply)
    padded = apply(variables, images, jnp.array([[64, 80], [39, 50]]))
    alone = apply(variables, images[1:, :39, :50])
    assert alone.logits.shape[1:3] == (3, 4)
    for name in ("logits", "feature", "hierarchy"):
        ours, expected = getattr(padded, name)[1, :3, :4], getattr(alone, name)[0]
        np.testing.assert_allclose(ours, expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(padded.valid[1], np.pad(np.ones((3, 4), bool), ((0, 1), (0, 1))))
    assert padded.valid[0].all()


def test_of_a_backbone_with_three_features_the_last_sides_are_taken():
    images = photographs(1, 16, 16, 3)
    made = SipeNetwork(Pyramid(), 3)
    params = jax.jit(made.init)(jax.random.key(0), images)["params"]
    widths = {name: params[name]["kernel"].shape[1] for name in params if "side" in name}
    assert widths == {"side_conv4": 128, "side_conv5": 256, "side_conv6": 256}


def test_statistics_are_stored_ones_unless_asked_otherwise():
    class Told(Pyramid):
        def __call__(self, images, sizes, use_running_average, deterministic):
            asked.append((use_running_average, deterministic))
            return super().__call__(images, sizes, use_running_average, deterministic)

    for frozen, train, expected in (
        (True, True, (True, False)),
        (False, True, (False, False)),
        (False, False, (True, True)),
    ):
        asked = []
        network = SipeNetwork(Told(), 3, frozen_batch_norm=frozen)
        jax.eval_shape(
            lambda network=network, train=train: network.init(
                jax.random.key(0), jnp.zeros((1, 16, 16, 3)), train=train
            )
        )
        assert asked[0] == expected
