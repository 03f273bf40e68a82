"""The leaky integrator: a membrane that does not spike, for readouts."""

from __future__ import annotations

from torch import Tensor

from dvskit._arguments import check_arguments
from dvskit.neurons.driver import Backend, Neurons
from dvskit.neurons.dynamics import Dynamics, Potential


@check_arguments
class LI(Neurons):
    """A layer of leaky integrators: (T, ...) currents in, (T, ...) potentials out.

    v_t = beta v_{t-1} + gain x_t, and v_t is returned, in the dtype of the input. gain None is 1.
    beta and gain are numbers or tensors, and all else is as in `LIF`.

    Raises ConfigError if beta is outside [0, 1]; ShapeError as LIF does.
    """

    beta: float | Tensor
    gain: float | Tensor | None

    def __init__(
        self,
        beta: float | Tensor = 0.9,
        backend: Backend = "auto",
        *,
        gain: float | Tensor | None = None,
    ) -> None:
        super().__init__(
            {"beta": beta, "gain": gain}, reset="none", surrogate=Potential(), backend=backend
        )

    @property
    def dynamics(self) -> Dynamics:
        """The parameters of the model as they are now."""
        return Dynamics(
            beta=self.beta, threshold=1.0, gain=self.gain, reset="none", surrogate=self.surrogate
        )

    def extra_repr(self) -> str:
        """Return the parameters as they were given; of tensors the shape."""
        return super().extra_repr().split(", reset=")[0]
