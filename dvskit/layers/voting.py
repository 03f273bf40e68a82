"""Several outputs a class, which vote."""

from __future__ import annotations

from torch import Tensor, nn

from dvskit._arguments import check_arguments
from dvskit.errors import ConfigError, ShapeError
from dvskit.layers.folding import check_tensor


@check_arguments
class Voting(nn.Module):
    """The mean of each `votes` neighbouring outputs: (T, B, K * votes) -> (T, B, K).

    A class whose answer is that of ten neurons is as graded in one time step as that of one neuron
    in ten (Wu et al. 2019, "Direct training for spiking neural networks"; ten of them in Fang et
    al. 2021, "Incorporating learnable membrane time constant"). Behind a readout (B, K * votes) is
    taken likewise.

    Raises ConfigError for votes below 1, ShapeError for outputs that they do not divide.
    """

    def __init__(self, votes: int = 10) -> None:
        super().__init__()
        if votes < 1:
            raise ConfigError(f"Voting: votes = {votes}: a number of at least 1 is meant")
        self.votes = votes

    def forward(self, x: Tensor) -> Tensor:
        """Return the means of the last dimension of `x`."""
        check_tensor(self, x)
        if x.ndim < 2 or x.shape[-1] % self.votes or not x.is_floating_point():
            raise ShapeError(
                f"Voting takes floating-point (T, B, K * {self.votes}), not {x.dtype} of shape "
                f"{tuple(x.shape)}; put a dense layer of so many outputs in front of it"
            )
        return x.reshape(*x.shape[:-1], -1, self.votes).mean(-1)

    def extra_repr(self) -> str:
        """Return the parameters as they were given."""
        return f"votes={self.votes}"
