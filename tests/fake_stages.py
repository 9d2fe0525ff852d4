"""The pipeline with stages that only note that they ran."""

import dataclasses

from hfpl_jax import pipeline
from hfpl_jax.runtime.manifest import TRAININGS


def note_runs(monkeypatch, content_read=None, after=None):
    """The list to which every stage that runs adds its name; `content_read` stands for
    what trainings read, by their names.
    """
    ran = []

    def noting(name):
        def stage(context):
            ran.append(name)
            if name in TRAININGS:
                (context.folder / "checkpoints" / "1").mkdir(parents=True)
            return {}

        return stage

    stages = tuple(
        dataclasses.replace(
            stage,
            run=noting(stage.name),
            content_read=(content_read or {}).get(stage.name),
            after=None,
        )
        for stage in pipeline.STAGES
    )
    monkeypatch.setattr(pipeline, "STAGES", stages)
    return ran
