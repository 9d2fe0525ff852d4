"""Where the result of a stage lies."""

from hfpl_jax.stages.table import all_stages


def test_a_training_lies_below_its_stage_and_other_results_in_its_place(tmp_path):
    lies = {stage.name: stage.folder(tmp_path, "0f") for stage in all_stages()}
    below = {name for name, folder in lies.items() if folder == tmp_path / name / "0f"}
    assert below == {"train", "affinity", "refinement", "mining", "segmentation"}
    assert all(lies[name] == tmp_path / name for name in lies.keys() - below)
