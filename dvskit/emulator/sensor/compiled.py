"""How the sensor's kernels are compiled.

They allocate nothing, so that they do without numba's counting of references (_nrt): two locked
operations for each array of each call are a tenth of the time. Divisors are never 0 where it
matters, so that a division needs no test (error_model). Those that Python does not call need not
unpack what Python gives: that is a quarter of what would be compiled.
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

kernel: Callable[[F], F] = njit(**_OPTIONS)  # takes arrays, from Python
inner: Callable[[F], F] = njit(**_INNER)  # takes spans, from loops: never to be called from Python
merged: Callable[[F], F] = njit(**_INNER | {"forceinline": True})  # compiled alone, then part of it
inlined: Callable[[F], F] = njit(**_OPTIONS | {"inline": "always"})  # a few lines, many times


def _prefetch(context: Any, array: Any, index: Any) -> Any:
    """Ask for the cache line of an element, to be read or written soon; nothing else happens."""

    def ask(context: Any, builder: Any, signature: Any, given: Any) -> Any:
        pointer = builder.gep(builder.extract_value(given[0], 0), [given[1]])
        byte = builder.bitcast(pointer, cgutils.voidptr_t)
        word = ir.IntType(32)
        asked = ir.FunctionType(ir.VoidType(), [byte.type, word, word, word])
        # To be read; to be kept in every cache; it is data.
        how = [word(0), word(3), word(1)]
        builder.call(
            builder.module.declare_intrinsic("llvm.prefetch", (byte.type,), asked), [byte, *how]
        )
        return context.get_dummy_value()

    return types.void(array, types.intp), ask


prefetch: Any = intrinsic(_prefetch)


def _either(comparison: str) -> Any:
    """Return what makes a function of two numbers that returns the one that is so, else the first.

    It is one instruction. Numba compiles a function for each use of min and max.
    """

    def typed(_: Any, first: Any, second: Any) -> Any:
        whole = isinstance(first, types.Integer) and isinstance(second, types.Integer)

        def choose(_: Any, builder: Any, __: Any, given: Any) -> Any:
            compare = builder.icmp_signed if whole else builder.fcmp_ordered
            return builder.select(compare(comparison, given[1], given[0]), given[1], given[0])

        own = types.int64 if whole else types.float64
        return own(own, own), choose

    return typed


lesser: Any = intrinsic(_either("<"))  # of two numbers, in int64 or float64
greater: Any = intrinsic(_either(">"))
