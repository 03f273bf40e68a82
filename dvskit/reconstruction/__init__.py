"""Images from events: a complementary filter, recurrent networks, and ONNX networks of others."""

from dvskit.reconstruction.reconstructor import ReconstructionPass, Reconstructor

__all__ = ["ReconstructionPass", "Reconstructor"]
