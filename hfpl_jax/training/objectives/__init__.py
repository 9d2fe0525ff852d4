"""What the final network may be trained for, by name. A new one is a file beside this one
and a line here.
"""

from collections.abc import Mapping

from hfpl_jax.training.objectives.cotraining import CoTraining
from hfpl_jax.training.objectives.cycle import Cycle
from hfpl_jax.training.objectives.final import FinalObjective, Supervised

OBJECTIVES: Mapping[str, type[FinalObjective]] = {
    "supervised": Supervised,
    "cotraining": CoTraining,
    "cycle": Cycle,
}
"""Of config.segmentation.objective."""
