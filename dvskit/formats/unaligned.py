"""Numbers at any byte of an array, for compiled loops: no alignment is needed, nothing is checked.

The caller has made sure that the bytes are inside the array. Loads give int64.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic


def _loader(bits: int) -> Any:
    @intrinsic
    def load(typing_context: Any, array: Any, at: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            data = context.make_array(signature.args[0])(context, builder, arguments[0]).data
            octets = builder.bitcast(data, ir.IntType(8).as_pointer())
            place = builder.gep(octets, [arguments[1]])
            value = builder.load(builder.bitcast(place, ir.IntType(bits).as_pointer()))
            value.align = 1
            return value if bits == 64 else builder.zext(value, ir.IntType(64))

        return types.int64(array, types.int64), generate

    return load


load_u8, load_u16, load_u32, load_i64 = _loader(8), _loader(16), _loader(32), _loader(64)
