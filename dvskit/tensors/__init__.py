"""Events -> tensors, one representation a file."""

from dvskit.tensors.binary import Binary
from dvskit.tensors.counts import Counts, bin_clips, bin_events
from dvskit.tensors.representation import Representation
from dvskit.tensors.signed import Signed

__all__ = ["Binary", "Counts", "Representation", "Signed", "bin_clips", "bin_events"]
