"""Numbers at any byte of an array, for compiled loops: no alignment is needed, nothing is checked.

The caller has made sure that the bytes are inside the array. Loads give int64.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic


def _pointer(context: Any, builder: Any, kind: Any, array: Any, at: Any, word: Any) -> Any:
    data = context.make_array(kind)(context, builder, array).data
    octets = builder.bitcast(data, ir.IntType(8).as_pointer())
    return builder.bitcast(builder.gep(octets, [at]), word.as_pointer())


def _loader(bits: int) -> Any:
    @intrinsic
    def load(typing_context: Any, array: Any, at: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            kind = signature.args[0]
            place = _pointer(context, builder, kind, arguments[0], arguments[1], ir.IntType(bits))
            value = builder.load(place)
            value.align = 1
            return value if bits == 64 else builder.zext(value, ir.IntType(64))

        return types.int64(array, types.int64), generate

    return load


def _copier(octets: int) -> Any:
    @intrinsic
    def copy(typing_context: Any, target: Any, at: Any, source: Any, begin: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            word = ir.VectorType(ir.IntType(8), octets)
            to, _, other, _ = signature.args
            value = builder.load(
                _pointer(context, builder, other, arguments[2], arguments[3], word)
            )
            value.align = 1
            place = _pointer(context, builder, to, arguments[0], arguments[1], word)
            builder.store(value, place).align = 1
            return context.get_dummy_value()

        return types.void(target, types.int64, source, types.int64), generate

    return copy


load_u8, load_u16, load_u32, load_i64 = _loader(8), _loader(16), _loader(32), _loader(64)

# copy_8(target, at, source, begin): source[begin:begin + 8] is read before target[at:] is written.
copy_8, copy_16 = _copier(8), _copier(16)
