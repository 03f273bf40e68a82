"""How the sensor's kernels are compiled.

They allocate nothing, so that they do without numba's counting of references (_nrt): two locked
operations for each array of each call are a tenth of the time. Divisors are never 0 where it
matters, so that a division needs no test (error_model).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic

F = TypeVar("F", bound=Callable[..., Any])

_OPTIONS: dict[str, Any] = {"cache": True, "nogil": True, "_nrt": False, "error_model": "numpy"}
kernel: Callable[[F], F] = njit(**_OPTIONS)
inlined: Callable[[F], F] = njit(**_OPTIONS, inline="always")  # of one place, in a larger loop


def _prefetch(context: Any, array: Any, index: Any) -> Any:
    """Ask for the cache line of an element, to be read or written soon; nothing else happens."""

    def ask(context: Any, builder: Any, signature: Any, given: Any) -> Any:
        own = signature.args[0]
        fields = context.make_array(own)(context, builder, given[0])
        pointer = cgutils.get_item_pointer(  # type: ignore[no-untyped-call]
            context, builder, own, fields, [given[1]], wraparound=False
        )
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
