"""High-fidelity pseudo-labels in JAX: image labels in, segmentation masks out.
`hfpl_jax.losses` is what other code imports.
"""

__version__ = "0.2.0"
