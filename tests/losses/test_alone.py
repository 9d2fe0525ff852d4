"""The losses need nothing but JAX, jaxtyping and beartype."""

import importlib.metadata
import json
import re
import subprocess
import sys

# Blocks every module of the other distributions, then imports all of the losses and
# uses one.
SCRIPT = """
import importlib, importlib.abc, json, pkgutil, sys

class Blocked(importlib.abc.MetaPathFinder):
    names = set(json.loads(sys.argv[1]))

    def find_spec(self, name, path, target=None):
        if name.partition(".")[0] in self.names:
            raise ModuleNotFoundError(f"{name} is not needed by the losses", name=name)

sys.meta_path.insert(0, Blocked())
import numpy as np
from hfpl_jax import losses

for module in pkgutil.iter_modules(losses.__path__):
    importlib.import_module(f"hfpl_jax.losses.{module.name}")
print(float(losses.gap_loss(np.zeros((1, 2, 2, 3), np.float32), np.ones((1, 3), bool))))
"""


def needed(names):
    """Those distributions and all that they require, without extras."""
    found = set()
    while names:
        name = names.pop()
        if name in found:
            continue
        found.add(name)
        try:
            required = importlib.metadata.requires(name) or []
        except importlib.metadata.PackageNotFoundError:  # of another platform or Python
            continue
        names |= {
            canonical(re.match(r"[\w.-]+", line).group())
            for line in required
            if "extra ==" not in line
        }
    return found


def canonical(name):
    return re.sub(r"[-_.]+", "-", name).lower()


def test_the_losses_import_without_the_other_requirements():
    allowed = needed({"jax", "jaxtyping", "beartype"}) | {"hfpl-jax"}
    blocked = [
        module
        for module, owners in importlib.metadata.packages_distributions().items()
        if not any(canonical(owner) in allowed for owner in owners)
    ]
    assert {"PIL", "flax", "optax", "orbax", "ml_collections"} <= set(blocked)
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, json.dumps(blocked)], capture_output=True, text=True
    )
    assert done.stderr == ""
    assert abs(float(done.stdout) - 0.693147) < 1e-6  # log 2
