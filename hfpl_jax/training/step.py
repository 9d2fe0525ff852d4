"""One compiled training step, and the state it carries."""

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from flax import struct

from hfpl_jax.models.preprocess import normalize
from hfpl_jax.runtime.sharding import Mesh, batch_sharding, replicated
from hfpl_jax.training import optimizer as optimizers
from hfpl_jax.training.leaps import WINDOW, gradient_leaps
from hfpl_jax.training.objective import Batch, Objective, total_loss


@struct.dataclass
class TrainState:
    """Everything a checkpoint holds.

    `opt_state` covers the trainable parameters only. `norms` are the norms of the last
    steps' gradients, in a ring; -1 where there was none yet. `carried` is the
    objective's.
    """

    step: jax.Array
    params: dict
    batch_stats: dict
    opt_state: optax.OptState
    norms: jax.Array
    carried: Any


def new_state(
    variables: dict,
    optimizer: optax.GradientTransformation,
    freeze: Sequence[str],
    objective: Objective,
) -> TrainState:
    trainable, _ = optimizers.split_frozen(variables["params"], freeze)
    return TrainState(
        jnp.zeros((), jnp.int32),
        variables["params"],
        variables.get("batch_stats", {}),
        optimizer.init(trainable),
        jnp.full((WINDOW,), -1.0, jnp.float32),  # not NaN, which differs from process to process
        # Arrays of its own: the step may overwrite those that it is handed.
        jax.tree.map(jnp.copy, objective.first_carried(variables["params"])),
    )


def _batch_of(arrays: Mapping[str, Any], progress: jax.Array, carried: Any) -> Batch:
    """As the objective sees what a stream has made."""
    images = normalize(arrays["image"], arrays["valid"])
    return Batch(
        images,
        arrays.get("labels", jnp.zeros((len(images), 0), jnp.float32)),
        arrays["valid"],
        progress,
        carried,
        {
            name: _batch_of(each, progress, carried)
            for name, each in arrays.get("beside", {}).items()
        },
        arrays.get("features", {}),
    )


def make_train_step(
    network: nn.Module,
    objective: Objective,
    optimizer: optax.GradientTransformation,
    schedule: optax.Schedule,
    *,
    steps: int,
    freeze: Sequence[str],
    mesh: Mesh,
    shardings: TrainState | None = None,
    skip_above: float = 0.0,
) -> jax.stages.Wrapped:
    """`step(state, {"image", "valid", "labels"}, key) -> (state, metrics)`, jitted; the
    state is donated. Under "beside" a batch may hold those of other sources by name.

    The batch is sharded over the mesh's `data` axis: the means in the losses become
    sums over all devices, so one device and many compute the same step. The state is
    divided as `shardings` says (see `state_sharding`), or whole on every device. The
    key of a step is `fold_in(key, state.step)`; where an objective calls the network
    more than once, each call has its own dropout, is normalised by its own batch, and
    continues the running statistics of the one before. Those are of the global batch.

    The training has `steps`: the share of them that is done is the batch's progress.

    A step whose gradient is more than `skip_above` times as long as the median of the
    last 64 changes neither parameters nor momenta nor batch statistics nor what the
    objective carries, and the schedule does not advance; 0 skips none. Its norm still
    enters the median, so that a training whose gradients stay long continues after 32
    steps.

    Metrics: `loss` (the weighted total), each loss term by name, `gradient_norm`,
    `learning_rate`, `skipped_steps` (1 or 0).
    """

    def step(state: TrainState, arrays: dict[str, Any], key: jax.Array):
        trainable, frozen = optimizers.split_frozen(state.params, freeze)
        network_key, objective_key = jax.random.split(jax.random.fold_in(key, state.step))
        batch = _batch_of(arrays, state.step / steps, state.carried)

        def loss_of(trainable):
            updated = {"batch_stats": state.batch_stats}
            call = itertools.count()

            def apply(images, *, params=None, detached=False, statistics=True, **arguments):
                statistics = statistics and params is None and not detached
                params = optimizers.join(trainable, frozen) if params is None else params
                variables = {
                    "params": jax.lax.stop_gradient(params) if detached else params,
                    "batch_stats": updated["batch_stats"],
                }
                rngs = {"dropout": jax.random.fold_in(network_key, next(call))}
                output, mutated = network.apply(
                    variables, images, **arguments, mutable=["batch_stats"], rngs=rngs
                )
                if statistics:
                    updated.update(mutated)
                return output

            prediction = objective.predict(apply, batch, objective_key)
            return total_loss(prediction), (prediction, updated["batch_stats"])

        (loss, (prediction, batch_stats)), gradients = jax.value_and_grad(loss_of, has_aux=True)(
            trainable
        )
        norm = optax.global_norm(gradients)
        updates, opt_state = optimizer.update(gradients, state.opt_state, trainable)
        skipped = jnp.asarray(False)
        if skip_above:
            skipped = gradient_leaps(norm, state.norms, skip_above)
            updates = jax.tree.map(lambda update: jnp.where(skipped, 0.0, update), updates)
        params = optimizers.join(optax.apply_updates(trainable, updates), frozen)
        carried = objective.next_carried(state.carried, params, prediction, batch.progress)
        if skip_above:
            opt_state, batch_stats, carried = jax.tree.map(
                lambda old, new: jnp.where(skipped, old, new),
                (state.opt_state, state.batch_stats, state.carried),
                (opt_state, batch_stats, carried),
            )
        metrics = {
            "loss": loss,
            **prediction.losses,
            "gradient_norm": norm,
            "learning_rate": schedule(optimizers.steps_taken(state.opt_state)),
            "skipped_steps": skipped.astype(jnp.float32),
        }
        norms = state.norms.at[state.step % WINDOW].set(norm)
        state = TrainState(state.step + 1, params, batch_stats, opt_state, norms, carried)
        return state, metrics

    everywhere = replicated(mesh)
    of_state = everywhere if shardings is None else shardings
    return jax.jit(
        step,
        donate_argnums=0,
        in_shardings=(of_state, batch_sharding(mesh), everywhere),
        out_shardings=(of_state, everywhere),
    )
