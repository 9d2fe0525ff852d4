import jax
import numpy as np
import pytest

from hfpl_jax.errors import InputError
from hfpl_jax.runtime.sharding import data_mesh, local_mesh, put_batch


def test_all_devices_share_a_batch():
    mesh = data_mesh(16, "config.train.batch_size")
    assert mesh.size == jax.device_count() == 8
    images = np.arange(16 * 3).reshape(16, 3)
    array = put_batch(mesh, {"image": images})["image"]
    assert [shard.data.shape for shard in array.addressable_shards] == [(2, 3)] * 8
    np.testing.assert_array_equal(array, images)


@pytest.mark.parametrize(
    ("batch_size", "views", "advice"),
    [
        (12, 1, "multiple of 8, such as 8 or 16"),
        (3, 1, "multiple of 8, such as 8"),
        (0, 1, "such as 8"),
        (6, 2, "of 4, such as 4 or 8"),
    ],
)
def test_a_batch_that_does_not_divide(batch_size, views, advice):
    with pytest.raises(
        InputError,
        match=rf"config\.x = {batch_size} does not divide into 8 devices\. Set it to .*{advice}\.",
    ):
        local_mesh(batch_size, "config.x", views=views)


def test_mirrored_views_count():
    assert local_mesh(4, "config.x", views=2).size == 8
