"""The pipeline with stages that only note that they ran."""

import dataclasses

from hfpl_jax import pipeline


def note_runs(monkeypatch):
    """The list to which every stage that runs adds its name."""
    ran = []

    def noting(name):
        def stage(context):
            ran.append(name)
            return {}

        return stage

    stages = tuple(dataclasses.replace(stage, run=noting(stage.name)) for stage in pipeline.STAGES)
    monkeypatch.setattr(pipeline, "STAGES", stages)
    return ran
