"""What a run would take of a pod that is not there: its programs are compiled for it, on
a machine without a TPU, from shapes alone.
"""

from hfpl_jax.topology.ask import ask
from hfpl_jax.topology.pods import Pod, pod_of

__all__ = ["Pod", "ask", "pod_of"]
