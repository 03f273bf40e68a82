"""N-MNIST and N-Caltech101 `.bin`: 5 bytes an event from an ATIS camera.

Big-endian: x (8 bits), y (8), polarity (1, ON = 1), time in microseconds (23). A row with y = 240
is no event: the clock goes on by 2^13 us. Layout: Orchard et al. 2015, Converting static image
datasets to spiking neuromorphic datasets using saccades.
"""

from dvskit.formats.nmnist.reading import NmnistRecording, open_recording, open_small

__all__ = ["NmnistRecording", "open_recording", "open_small"]
