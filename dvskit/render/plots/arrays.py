"""Arrays and tensors as numpy arrays; torch is not needed for it."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from dvskit.errors import ShapeError


def as_array(values: Any) -> NDArray[Any]:
    """Return an array or a torch tensor as a numpy array, floats at least float32."""
    if hasattr(values, "detach"):
        values = values.detach().cpu()
        if values.is_floating_point():
            values = values.double()  # numpy knows no bfloat16
    return np.asarray(values)


def over_time(values: Any, name: str) -> NDArray[Any]:
    """Return (T, ...) as (T, neurons). Raises ShapeError for numbers without time, and NaN."""
    array = as_array(values)
    if array.ndim == 0 or array.dtype.kind not in "fiub":
        raise ShapeError(f"{name} of shape {array.shape} ({array.dtype}); (T, neurons) is meant")
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise ShapeError(f"{name}: holds values that are not finite")
    return array.reshape(len(array), int(np.prod(array.shape[1:])))
