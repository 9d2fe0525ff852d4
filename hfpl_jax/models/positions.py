"""Where the patches of an image lie: a table of positions, stored for one grid and
resized to that of each image.
"""

import jax
import jax.numpy as jnp

from hfpl_jax.shapes import Array, Float, Int, typed

ANTIALIASED, BICUBIC, SHIFTED = RULES = ("antialiased", "bicubic", "shifted")
"""antialiased: cubic with a = -1/2, the taps outside left out, as timm resizes; bicubic:
a = -3/4, the edge repeated, as PyTorch does by itself; shifted: the same as if a grid of
n cells had n + 0.1, as DINO and MCTformer have it.
"""

_SHIFT = 0.1


@typed
def resized_positions(
    table: Float[Array, "g g k"],
    grid: tuple[int, int],
    sizes: Int[Array, "b 2"] | None = None,
    *,
    rule: str = ANTIALIASED,
) -> Float[jax.Array, "_ h w k"]:
    """The table at the `grid` (rows, columns) of an image; as it is where that is the
    table's own.

    Args:
      sizes: rows and columns that each image of a padded batch has of the grid; its
        table is in the top left corner. None: one table, of the whole grid.
      rule: one of `RULES`.
    """
    table, side = jnp.asarray(table), table.shape[0]

    def resized(size: Array) -> jax.Array:
        if rule == ANTIALIASED:
            scale = size.astype(jnp.float32) / side
            return jax.image.scale_and_translate(
                table, (*grid, table.shape[-1]), (0, 1), scale, jnp.zeros(2), "cubic"
            )
        shift = _SHIFT if rule == SHIFTED else 0.0
        rows, columns = (
            _bicubic(side, cells, size[axis] + shift) for axis, cells in enumerate(grid)
        )
        made = jnp.einsum("hi,wj,ijk->hwk", rows, columns, table)
        whole = [(0, max(0, cells - side)) for cells in grid]
        as_it_is = jnp.pad(table, (*whole, (0, 0)))[: grid[0], : grid[1]]
        return jnp.where(jnp.all(size == side), as_it_is, made)

    if sizes is None:
        return table[None] if grid == table.shape[:2] else resized(jnp.asarray(grid))[None]
    return jax.vmap(resized)(jnp.asarray(sizes))


def _bicubic(side: int, cells: int, size: Array) -> jax.Array:
    """[cells, side]: what each cell of a grid of `size` takes of the table."""
    place = (jnp.arange(cells) + 0.5) * (side / size) - 0.5
    first = jnp.floor(place)
    weights = jnp.zeros((cells, side))
    for tap in (-1, 0, 1, 2):
        read = jnp.clip(first + tap, 0, side - 1).astype(jnp.int32)
        weights += _kernel(jnp.abs(place - first - tap))[:, None] * jax.nn.one_hot(read, side)
    return weights


def _kernel(x: Array, a: float = -0.75) -> jax.Array:
    """Keys' kernel, of distances of at least 0."""
    near = ((a + 2.0) * x - (a + 3.0)) * x * x + 1.0
    far = ((a * x - 5.0 * a) * x + 8.0 * a) * x - 4.0 * a
    return jnp.where(x <= 1.0, near, jnp.where(x < 2.0, far, 0.0))
