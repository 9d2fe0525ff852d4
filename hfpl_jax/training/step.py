"""One compiled training step, and the state it carries."""

import itertools
from collections.abc import Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from flax import struct

from hfpl_jax.methods.method import Batch, Objective, total_loss
from hfpl_jax.models.preprocess import normalize
from hfpl_jax.runtime.sharding import Mesh, batch_sharding, replicated
from hfpl_jax.training import optimizer as optimizers
from hfpl_jax.training.leaps import WINDOW, gradient_leaps


@struct.dataclass
class TrainState:
    """Everything a checkpoint holds.

    `opt_state` covers the trainable parameters only. `norms` are the norms of the last
    steps' gradients, in a ring; -1 where there was none yet.
    """

    step: jax.Array
    params: dict
    batch_stats: dict
    opt_state: optax.OptState
    norms: jax.Array


def new_state(
    variables: dict, optimizer: optax.GradientTransformation, freeze: Sequence[str]
) -> TrainState:
    trainable, _ = optimizers.split_frozen(variables["params"], freeze)
    return TrainState(
        jnp.zeros((), jnp.int32),
        variables["params"],
        variables.get("batch_stats", {}),
        optimizer.init(trainable),
        jnp.full((WINDOW,), -1.0, jnp.float32),  # not NaN, which differs from process to process
    )


def make_train_step(
    network: nn.Module,
    method: Objective,
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
    state is donated.

    The batch is sharded over the mesh's `data` axis: the means in the losses become
    sums over all devices, so one device and many compute the same step. The state is
    divided as `shardings` says (see `state_sharding`), or whole on every device. The
    key of a step is `fold_in(key, state.step)`; where a method calls the network more
    than once, each call has its own dropout and continues the batch statistics of the
    one before.

    The training has `steps`: the share of them that is done is the batch's progress.

    A step whose gradient is more than `skip_above` times as long as the median of the
    last 64 changes neither parameters nor momenta nor batch statistics, and the
    schedule does not advance; 0 skips none. Its norm still enters the median, so that a
    training whose gradients stay long continues after 32 steps.

    Metrics: `loss` (the weighted total), each loss term by name, `gradient_norm`,
    `learning_rate`, `skipped_steps` (1 or 0).
    """

    def step(state: TrainState, batch: dict[str, jax.Array], key: jax.Array):
        trainable, frozen = optimizers.split_frozen(state.params, freeze)
        network_key, method_key = jax.random.split(jax.random.fold_in(key, state.step))
        images = normalize(batch["image"], batch["valid"])
        progress = state.step / steps

        def loss_of(trainable):
            updated = {"batch_stats": state.batch_stats}
            call = itertools.count()

            def apply(images, **arguments):
                variables = {
                    "params": optimizers.join(trainable, frozen),
                    "batch_stats": updated["batch_stats"],
                }
                rngs = {"dropout": jax.random.fold_in(network_key, next(call))}
                output, mutated = network.apply(
                    variables, images, **arguments, mutable=["batch_stats"], rngs=rngs
                )
                updated.update(mutated)
                return output

            prediction = method.predict(
                apply, Batch(images, batch["labels"], batch["valid"], progress), method_key
            )
            return total_loss(prediction), (prediction.losses, updated["batch_stats"])

        (loss, (losses, batch_stats)), gradients = jax.value_and_grad(loss_of, has_aux=True)(
            trainable
        )
        norm = optax.global_norm(gradients)
        updates, opt_state = optimizer.update(gradients, state.opt_state, trainable)
        skipped = jnp.asarray(False)
        if skip_above:
            skipped = gradient_leaps(norm, state.norms, skip_above)
            updates = jax.tree.map(lambda update: jnp.where(skipped, 0.0, update), updates)
            opt_state, batch_stats = jax.tree.map(
                lambda old, new: jnp.where(skipped, old, new),
                (state.opt_state, state.batch_stats),
                (opt_state, batch_stats),
            )
        params = optimizers.join(optax.apply_updates(trainable, updates), frozen)
        metrics = {
            "loss": loss,
            **losses,
            "gradient_norm": norm,
            "learning_rate": schedule(optimizers.steps_taken(state.opt_state)),
            "skipped_steps": skipped.astype(jnp.float32),
        }
        norms = state.norms.at[state.step % WINDOW].set(norm)
        return TrainState(state.step + 1, params, batch_stats, opt_state, norms), metrics

    everywhere = replicated(mesh)
    of_state = everywhere if shardings is None else shardings
    return jax.jit(
        step,
        donate_argnums=0,
        in_shardings=(of_state, batch_sharding(mesh), everywhere),
        out_shardings=(of_state, everywhere),
    )
