"""How a batch of photographs goes through a network that gives back what it sees."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hfpl_jax.inference.multi_scale import MultiScale, batches_by_shape
from hfpl_jax.inference.predictor import Predictor, one_by_one

SIZES = {"a": (6, 8), "b": (8, 5), "c": (3, 8), "d": (8, 8), "e": (7, 4)}


@dataclasses.dataclass
class Photograph:
    file_name: str
    height: int
    width: int
    labels: tuple[int, ...] = ()

    def pixels(self):
        random = np.random.default_rng(self.height * self.width)
        return random.integers(0, 256, (self.height, self.width, 3), np.uint8)


@pytest.mark.parametrize(("devices", "images_at_once"), [(1, 2), (8, 8)])
def test_one_cpu_looks_at_a_photograph_after_another(devices, images_at_once):
    """Four photographs are a batch and the fifth is one; mirrored they are 8 images."""
    traced = []

    def logits(variables, images, sizes):
        traced.append((len(images), len(sizes)))
        return images.astype(jnp.float32) + variables

    mesh = jax.sharding.Mesh(np.asarray(jax.devices()[:devices]), ("data",))
    settings = MultiScale((1.0,), None, True, 4)
    predictor = Predictor(logits, jnp.float32(1.0), settings, 1, mesh)
    assert one_by_one(mesh) == (devices == 1)
    photographs = [Photograph(name, *size) for name, size in SIZES.items()]
    tasks = batches_by_shape(SIZES, [(8, 8)], set(), 4)
    made = [
        each
        for batch in predictor.batches(photographs, tasks, [(8, 8)], lambda *given: given)
        for each in batch
    ]
    assert [index for index, _ in made] == list(range(5))
    for index, (given, photograph, (maps,), sizes) in made:
        assert given == index
        assert sizes == [SIZES[photograph.file_name]]
        np.testing.assert_array_equal(maps, 2.0 * (photographs[index].pixels() + 1.0))
    assert set(traced) == {(images_at_once, images_at_once)}
