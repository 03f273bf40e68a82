"""How the sensor's kernels are compiled.

They allocate nothing, so that they do without numba's counting of references (_nrt): two locked
operations for each array of each call are a tenth of the time. Divisors are never 0 where it
matters, so that a division needs no test (error_model).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from numba import njit

F = TypeVar("F", bound=Callable[..., Any])

_OPTIONS: dict[str, Any] = {"cache": True, "nogil": True, "_nrt": False, "error_model": "numpy"}
kernel: Callable[[F], F] = njit(**_OPTIONS)
inlined: Callable[[F], F] = njit(**_OPTIONS, inline="always")  # of one place, in a larger loop
