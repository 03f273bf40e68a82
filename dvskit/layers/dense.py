"""Dense layers, and what makes their inputs of images."""

from __future__ import annotations

from torch import Tensor, nn

from dvskit.errors import ShapeError
from dvskit.layers.folding import check_tensor


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
