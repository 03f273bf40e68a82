"""Compiler options of the sensor's kernels.

Kernels allocate nothing, so they are compiled without reference counting (_nrt): two locked
operations per array and call are a tenth of the time. Divisors are never 0 where it matters, so
divisions need no test (error_model). Kernels that Python does not call need no unpacking of Python
arguments, which is a quarter of the compiled code.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic

F = TypeVar("F", bound=Callable[..., Any])

_OPTIONS: dict[str, Any] = {
    "cache": True, "nogil": True, "_nrt": False, "error_model": "numpy", "no_cfunc_wrapper": True
}  # fmt: skip
_INNER = _OPTIONS | {"no_cpython_wrapper": True}

kernel: Callable[[F], F] = njit(**_OPTIONS)  # called from Python
inner: Callable[[F], F] = njit(**_INNER)  # called from loops only
merged: Callable[[F], F] = njit(
    **_INNER | {"forceinline": True}
)  # compiled separately, then inlined
inlined: Callable[[F], F] = njit(**_OPTIONS | {"inline": "always"})  # a few lines, used many times


def _prefetch(context: Any, array: Any, index: Any) -> Any:
    """Prefetch the cache line of an element that is read or written soon."""

    def ask(context: Any, builder: Any, signature: Any, given: Any) -> Any:
        data = context.make_array(array)(context, builder, given[0]).data
        pointer = builder.gep(data, [given[1]])
        byte = builder.bitcast(pointer, cgutils.voidptr_t)
        word = ir.IntType(32)
        asked = ir.FunctionType(ir.VoidType(), [byte.type, word, word, word])
        # Read access; keep in all cache levels; data cache.
        how = [word(0), word(3), word(1)]
        builder.call(
            builder.module.declare_intrinsic("llvm.prefetch", (byte.type,), asked), [byte, *how]
        )
        return context.get_dummy_value()

    return types.void(array, types.intp), ask


prefetch: Any = intrinsic(_prefetch)
