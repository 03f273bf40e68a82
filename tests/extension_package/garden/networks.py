"""A network of one's own, registered for configurations and models."""

from torch import Tensor, nn

from dvskit.networks import register_network


class MeanOfPixels(nn.Module):
    """A linear readout of the counts, averaged over time: (T, B, C, H, W) -> (B, classes)."""

    def __init__(self, pixels: int, classes: int) -> None:
        super().__init__()
        self.readout = nn.Linear(2 * pixels, classes)

    def forward(self, counts: Tensor) -> Tensor:
        return self.readout(counts.flatten(2)).mean(0)


register_network("mean-of-pixels", MeanOfPixels)
