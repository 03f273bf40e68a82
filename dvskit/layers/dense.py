"""Dense layers, what makes their inputs of images, and outputs that vote."""

from __future__ import annotations

from torch import Tensor, nn

from dvskit._arguments import check_arguments
from dvskit.errors import ConfigError, ShapeError
from dvskit.layers.batch import check_tensor


class Linear(nn.Linear):
    """torch.nn.Linear of each time step: (T, B, N) -> (T, B, M); behind a readout (B, N) -> (B, M).

    Arguments, weights and their initial values are torch's. Raises ShapeError for another N.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Return the weighted sums of the last dimension of `x`."""
        self.check(x)
        if x.ndim > 2 and x.shape[0] > 1 and x.stride(0) == 0:  # alike at each step: computed once
            return super().forward(x[0]).expand(x.shape[0], *x.shape[1:-1], self.out_features)
        return super().forward(x)

    def check(self, x: Tensor) -> None:
        """Raise ShapeError if `x` is not what the layer takes."""
        check_tensor(self, x)
        if x.shape[-1:] == (self.in_features,) and x.is_floating_point():
            return
        fix = "convert with .float()"
        if x.shape[-1:] != (self.in_features,):
            fix = "put Flatten() in front if these are images, or change in_features"
        raise ShapeError(
            f"Linear takes floating-point (T, B, {self.in_features}), not {x.dtype} of shape "
            f"{tuple(x.shape)}; {fix}"
        )


class Flatten(nn.Module):
    """The numbers of each sample and time step in one row: (T, B, ...) -> (T, B, N).

    Raises ShapeError for an input without time and batch.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Return `x` as (T, B, N)."""
        check_tensor(self, x)
        if x.ndim < 3:
            raise ShapeError(f"Flatten takes (T, B, ...), not {tuple(x.shape)}; put time first")
        return x.flatten(2)  # (T, B, C, H, W) -> (T, B, C*H*W)


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
