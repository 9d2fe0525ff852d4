"""Where the patches of an image lie: a table of positions, stored for one grid and
resized to that of each image.
"""

import jax
import jax.numpy as jnp

from hfpl_jax.shapes import Array, Float, Int, typed


@typed
def resized_positions(
    table: Float[Array, "g g k"], grid: tuple[int, int], sizes: Int[Array, "b 2"] | None = None
) -> Float[jax.Array, "_ h w k"]:
    """The table at the `grid` (rows, columns) of an image: bicubic (a = -1/2), with
    antialiasing, as timm resizes it.

    Args:
      sizes: rows and columns that each image of a padded batch has of the grid; its
        table is in the top left corner. None: one table, of the whole grid.
    """
    side = table.shape[0]

    def resized(size: Array) -> jax.Array:
        return jax.image.scale_and_translate(
            table,
            (*grid, table.shape[-1]),
            (0, 1),
            size.astype(jnp.float32) / side,
            jnp.zeros(2),
            "cubic",
            antialias=True,
        )

    if sizes is None:
        if grid == table.shape[:2]:
            return jnp.asarray(table)[None]
        return resized(jnp.asarray(grid))[None]
    return jax.vmap(resized)(jnp.asarray(sizes))
