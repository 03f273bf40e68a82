"""Events -> tensors, one representation a file."""

from dvskit.tensors.counts import bin_clips, bin_events

__all__ = ["bin_clips", "bin_events"]
