"""Whose gradient a training step follows: the norm of each loss term's gradient, and
the maps that carry the gradient of the feature similarity loss.

    python -m experiments.gradient_terms --config=configs/quickstart.py \
        --workdir=runs/quickstart

The step is the one after the last checkpoint of the run in the workdir, made with the
same configuration: its batch, sampled pixels and dropout. So a run that was stopped
shows the step it stopped before; `--config.run.checkpoint_every=K` puts a checkpoint
before a step that one wants to look at.
"""

import contextlib
import dataclasses
import itertools
import pathlib
import sys
from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np
import optax

from hfpl_jax import command_line, pipeline
from hfpl_jax.data.batches import batch_stream
from hfpl_jax.errors import InputError
from hfpl_jax.fingerprint import fingerprint_of
from hfpl_jax.losses import feature_similarity_loss, similarity_scores
from hfpl_jax.methods.hfpl import Hfpl
from hfpl_jax.models.preprocess import colours, normalize
from hfpl_jax.runtime import console
from hfpl_jax.runtime.sharding import data_mesh, put_batch, replicated, replicated_key
from hfpl_jax.stages import data, train
from hfpl_jax.stages.context import Context
from hfpl_jax.training.checkpoint import latest_step, restore_variables
from hfpl_jax.training.fit import Fit
from hfpl_jax.training.objective import Batch, Objective, Prediction
from hfpl_jax.training.optimizer import Flat, join, split_frozen

_MAPS = 5

Given = tuple[Flat, Mapping, Batch]
"""Frozen parameters, statistics and the batch."""


def training_folder(context: Context) -> pathlib.Path:
    """Where the training of this configuration lies, or would: the latest command in the
    workdir may have wanted another.
    """
    config, workdir = context.config, context.workdir
    stage = next(stage for stage in pipeline.stages_of(config) if stage.name == "train")
    parents, hashes = {"data": context.dataset.fingerprint}, data.content_hashes(config, workdir)
    fingerprint = fingerprint_of(stage, config, context.dataset, parents, hashes)
    return stage.folder(workdir, fingerprint)


def gradient_norms(
    job: Fit,
    variables: Mapping,
    batch: Mapping[str, jax.Array],
    key: jax.Array,
    progress: float = 0.0,
) -> dict[str, float]:
    """Norm of the gradient of every weighted term to the parameters that are trained.
    With the importance sampling loss, "sampled" and "pooled" are the two parts of the
    classification. `key` is the step's: that of the training, folded with its number;
    `progress` the share of the training before it.
    """
    images = normalize(batch["image"], batch["valid"])
    trainable, frozen = split_frozen(variables["params"], job.freeze)
    network_key, method_key = jax.random.split(key)  # as the training step does

    seen = Batch(images, batch["labels"], batch["valid"], jnp.float32(progress))
    # Arguments of the compiled program: as constants in it, they would be folded.
    given = frozen, variables["batch_stats"], seen

    def predict(objective: Objective, trainable: Flat, given: Given) -> Prediction:
        call, (frozen, stats, seen) = itertools.count(), given

        def apply(images, **arguments):
            params = join(trainable, frozen)
            state = {"params": params, "batch_stats": stats}
            rngs = {"dropout": jax.random.fold_in(network_key, next(call))}
            return job.network.apply(
                state, images, **arguments, mutable=["batch_stats"], rngs=rngs
            )[0]

        return objective.predict(apply, seen, method_key)

    def norm(objective: Objective, term: str, share: float) -> float:
        def loss(trainable: Flat, given: Given) -> jax.Array:
            prediction = predict(objective, trainable, given)
            return share * prediction.weights[term] * prediction.losses[term]

        return float(optax.global_norm(jax.jit(jax.grad(loss))(trainable, given)))

    terms = jax.eval_shape(
        lambda trainable, given: predict(job.objective, trainable, given).losses, trainable, given
    )
    norms = {term: norm(job.objective, term, 1.0) for term in terms}
    if isinstance(job.objective, Hfpl) and job.objective.isl_weight > 0.0:
        share = job.objective.isl_weight
        for name, only, part in (("pooled", 0.0, 1.0 - share), ("sampled", 1.0, share)):
            alone = dataclasses.replace(job.objective, isl_weight=only)
            norms[f"classification, {name}"] = norm(alone, "classification", part)
    return norms


def heaviest_maps(
    method: Hfpl, images: jax.Array, logits: jax.Array, labels: jax.Array
) -> list[tuple[float, int, int, float]]:
    """The present classes' maps whose logits the similarity loss moves most: the norm
    of that gradient, image, class, and the map's height above its minimum, in logits.
    """

    def loss(logits: jax.Array) -> jax.Array:
        scores = similarity_scores(logits, labels, peak_floor=method.peak_floor)
        at_size = colours(images, logits.shape[1:3])
        return feature_similarity_loss(
            at_size, scores, mu=method.mu, sigma=method.sigma, window=method.window
        )

    pulls = np.asarray(jnp.sqrt(jnp.sum(jnp.square(jax.grad(loss)(logits)), axis=(1, 2))))
    positive = jax.nn.relu(logits)
    heights = np.asarray(positive.max((1, 2)) - positive.min((1, 2)))
    present = zip(*np.nonzero(np.asarray(labels)), strict=True)
    found = [(float(pulls[at]), int(at[0]), int(at[1]), float(heights[at])) for at in present]
    return sorted(found, reverse=True)


def main(arguments: list[str]) -> None:
    console.set_up()
    try:
        command = command_line.parse(arguments)
        if command is None:
            return
        context = pipeline.run(command.config, command.workdir, ["data"])
        folder = training_folder(context)
        job = train.job(context)
        step, config = latest_step(folder), command.config
        mesh = data_mesh(config.train.batch_size, "config.train.batch_size")
        variables = restore_variables(folder, job.shapes(), replicated(mesh))
    except InputError as error:
        sys.exit(f"gradient_terms: {error}")
    stream = batch_stream(
        job.source,
        job.transform,
        batch_size=config.train.batch_size,
        seed=config.seed,
        start_step=step,
    )
    with contextlib.closing(stream):
        batch = put_batch(mesh, next(stream))
    key = jax.random.fold_in(replicated_key(mesh, config.seed), step)
    print(f"Step {step + 1}, norms of the gradients:")
    for name, value in gradient_norms(job, variables, batch, key, step / job.steps).items():
        print(f"  {name:<28}{value:>12.4g}")
    if isinstance(job.objective, Hfpl) and job.objective.fsl_weight:
        images = normalize(batch["image"], batch["valid"])
        rngs = {"dropout": jax.random.fold_in(jax.random.split(key)[0], 0)}
        output, _ = job.network.apply(
            variables, images, train=True, mutable=["batch_stats"], rngs=rngs
        )
        heaviest = heaviest_maps(job.objective, images, output.logits, batch["labels"])
        print("The similarity loss to the logits, the heaviest maps:")
        for pull, image, label, height in heaviest[:_MAPS]:
            where = f"image {image}, class {label}"
            print(f"  {where:<28}{pull:>12.4g}   height {height:.3g} logits")


if __name__ == "__main__":
    main(sys.argv[1:])
