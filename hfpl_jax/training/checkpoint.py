"""Checkpoints by Orbax: the latest few, restored onto any number of devices.

One is written where it stays, and is whole once it holds the file that says so: Orbax's
other way is to rename its folder, which object stores cannot.
"""

import contextlib
import errno
import os
import pathlib
from collections.abc import Iterator

import jax
import orbax.checkpoint as ocp
from orbax.checkpoint import checkpoint_managers
from orbax.checkpoint.path import atomicity

from hfpl_jax.errors import InputError
from hfpl_jax.runtime.manifest import result_folder
from hfpl_jax.training.step import TrainState

_CHECKPOINTS = "checkpoints"
"""Their place in a training's folder."""

_DISK_REFUSES = tuple(
    os.strerror(number) for number in (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES)
)


@contextlib.contextmanager
def _written_by_one_replica() -> Iterator[None]:
    """Of several devices with the same array one writes it, instead of each a slice.

    For a slice Orbax compiles a program, one for each array and each device: on eight
    devices some 2,500 for a ResNet-50 and its momenta.
    """
    handlers = ocp.type_handlers
    before = handlers.get_type_handler(jax.Array)
    handlers.register_type_handler(
        jax.Array, handlers.ArrayHandler(use_replica_parallel=False), override=True
    )
    try:
        yield
    finally:
        handlers.register_type_handler(jax.Array, before, override=True)


@contextlib.contextmanager
def open_manager(
    folder: str | os.PathLike, *, every_steps: int, keep: int
) -> Iterator[ocp.CheckpointManager]:
    """Checkpoints of the training in `folder`, one every `every_steps` steps.

    Kept are the `keep` latest. What a killed run left half written is removed.

    Raises:
      InputError: at the latest at the end of the block, if the disk is full.
    """
    options = ocp.CheckpointManagerOptions(
        save_decision_policy=checkpoint_managers.FixedIntervalPolicy(every_steps),
        preservation_policy=checkpoint_managers.LatestN(keep),
        cleanup_tmp_directories=True,
        temporary_path_class=atomicity.CommitFileTemporaryPath,
    )
    try:
        with (
            _written_by_one_replica(),
            ocp.CheckpointManager(
                pathlib.Path(folder).absolute() / _CHECKPOINTS, options=options
            ) as manager,
        ):
            yield manager
    except (
        OSError,
        ValueError,
    ) as error:  # of TensorStore's writes only the text says what went wrong
        reason = next((reason for reason in _DISK_REFUSES if reason in str(error)), None)
        if reason is None:
            raise
        raise InputError(
            f"Cannot write into {os.fspath(folder)}: {reason}. Free some space or choose another "
            "folder, then run the command again."
        ) from error


def _abstract(tree, shardings):
    """`shardings`: one for every leaf, or a single one."""
    if isinstance(shardings, jax.sharding.Sharding):
        shardings = jax.tree.map(lambda _: shardings, tree)
    return jax.tree.map(
        lambda leaf, sharding: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding),
        tree,
        shardings,
    )


def restore_latest(
    manager: ocp.CheckpointManager, state: TrainState, shardings
) -> TrainState | None:
    """The newest state of this run, or None if there is none yet; on any devices,
    whatever it was written from.

    Args:
      state: of the same structure; arrays or their shapes.
      shardings: where its arrays shall live, of the same structure, or one for all.

    Raises:
      InputError: the checkpoint is of another network or optimizer.
    """
    step = manager.latest_step()
    if step is None:
        return None
    try:
        return manager.restore(step, args=ocp.args.StandardRestore(_abstract(state, shardings)))
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"The checkpoint {manager.directory / str(step)} does not fit the configured network "
            f"({_first_line(error)}). "
            "Set config.model to what it was trained with, or choose another --workdir."
        ) from error


def has_checkpoints(folder: str | os.PathLike) -> bool:
    """Whether the training in `folder`, see `result_folder`, has a whole checkpoint."""
    whole = _directory(folder).glob(f"*/{atomicity.COMMIT_SUCCESS_FILE}")
    return any(path.parent.name.isdigit() for path in whole)


def _directory(folder: str | os.PathLike) -> pathlib.Path:
    return result_folder(folder).absolute() / _CHECKPOINTS


def latest_step(folder: str | os.PathLike) -> int:
    """The steps taken before the last checkpoint of the training in `folder`.

    Raises:
      InputError: no checkpoint there.
    """
    directory, step = _directory(folder), None
    if directory.is_dir():
        # Only read: the run that writes there may be going on.
        options = ocp.CheckpointManagerOptions(
            read_only=True, temporary_path_class=atomicity.CommitFileTemporaryPath
        )
        with ocp.CheckpointManager(directory, options=options) as manager:
            step = manager.latest_step()
    if step is None:
        raise InputError(
            f"There are no checkpoints in {directory}. Run the train stage first, or name the "
            "folder of a finished run."
        )
    return step


def restore_variables(
    folder: str | os.PathLike, variables: dict, sharding: jax.sharding.Sharding
) -> dict:
    """Parameters and statistics alone, from the last checkpoint of a training.

    Raises:
      InputError: no checkpoint there, or one of another architecture or number of
        classes.
    """
    directory, step = _directory(folder), latest_step(folder)
    wanted = {
        name: _abstract(variables.get(name, {}), sharding) for name in ("params", "batch_stats")
    }
    try:
        restored = ocp.PyTreeCheckpointer().restore(
            directory / str(step) / "default",
            args=ocp.args.PyTreeRestore(
                item=wanted,
                partial_restore=True,
                restore_args=ocp.checkpoint_utils.construct_restore_args(wanted),
            ),
        )
    except (ValueError, KeyError, TypeError) as error:
        raise _wrong_network(directory, step, error) from error
    _check_shapes(wanted, restored, directory, step)
    return restored


def _check_shapes(wanted, restored, directory, step) -> None:
    for (path, expected), found in zip(
        jax.tree_util.tree_leaves_with_path(wanted), jax.tree.leaves(restored), strict=True
    ):
        if expected.shape != found.shape:
            raise _wrong_network(
                directory,
                step,
                f"{jax.tree_util.keystr(path)} has shape {found.shape}, wanted {expected.shape}",
            )


def _wrong_network(directory, step, error) -> InputError:
    return InputError(
        f"The checkpoint {directory / str(step)} is of another network ({_first_line(error)}). "
        "Set config.model and the number of classes to what it was trained with."
    )


def _first_line(error) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0][:300]
