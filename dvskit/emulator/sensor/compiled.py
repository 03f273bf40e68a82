"""Compiler options of the sensor's kernels, and spans that replace arrays between them.

Kernels allocate nothing, so they are compiled without reference counting (_nrt): two locked
operations per array and call are a tenth of the time. Divisors are never 0 where it matters, so
divisions need no test (error_model). Kernels that Python does not call need no unpacking of Python
arguments, which is a quarter of the compiled code.

A span is an address and a length. Numba passes 7 numbers for an array, and emits some 30
instructions per access to an element, most of which it deletes again. A span takes 2 and 5: loops
run as fast, and compile in half the time. Indices start at 0, and bounds are not checked; a part is
cut where the span ends.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any, TypeVar

from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.core.errors import TypingError
from numba.core.typing.templates import AbstractTemplate, AttributeTemplate, infer_global, signature
from numba.extending import (
    infer_getattr,
    intrinsic,
    lower_builtin,
    lower_getattr,
    models,
    register_model,
)

F = TypeVar("F", bound=Callable[..., Any])

_OPTIONS: dict[str, Any] = {
    "cache": True, "nogil": True, "_nrt": False, "error_model": "numpy", "no_cfunc_wrapper": True
}  # fmt: skip
_INNER = _OPTIONS | {"no_cpython_wrapper": True}

kernel: Callable[[F], F] = njit(**_OPTIONS)  # takes arrays, from Python
inner: Callable[[F], F] = njit(**_INNER)  # takes spans, from loops; not callable from Python
merged: Callable[[F], F] = njit(
    **_INNER | {"forceinline": True}
)  # compiled separately, then inlined
inlined: Callable[[F], F] = njit(**_OPTIONS | {"inline": "always"})  # a few lines, used many times


def _prefetch(context: Any, array: Any, index: Any) -> Any:
    """Prefetch the cache line of an element that is read or written soon."""

    def ask(context: Any, builder: Any, signature: Any, given: Any) -> Any:
        pointer = builder.gep(builder.extract_value(given[0], 0), [given[1]])
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


def _either(comparison: str) -> Any:
    """Return an intrinsic: the second of two numbers if it is less (or greater), else the first.

    It is one instruction; Numba compiles a function for each use of min and max.
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


class SpanType(types.Type):
    """The type of a span of elements."""

    def __init__(self, dtype: Any) -> None:
        self.dtype = dtype
        super().__init__(name=f"Span({dtype})")


@register_model(SpanType)
class _SpanModel(models.StructModel):
    def __init__(self, manager: Any, own: Any) -> None:
        members = [("data", types.CPointer(own.dtype)), ("size", types.intp)]
        super().__init__(manager, own, members)


def spans_type(own: Any) -> Any:
    """Return the type that a loop passes on for an argument: spans for arrays, else itself."""
    if isinstance(own, types.Array):
        if own.ndim != 1 or own.layout != "C":
            raise TypingError(f"a span needs contiguous elements, not {own}")
        return SpanType(own.dtype)
    if not _is_tuple(own):
        return own
    named = getattr(own, "instance_class", None)
    return types.BaseTuple.from_types([spans_type(each) for each in own], named)


def _is_tuple(own: Any) -> bool:
    return isinstance(own, types.BaseTuple)


def _spans(_: Any, given: Any) -> Any:
    """Return the span of an array (n,), or a tuple with its arrays replaced by spans."""

    def span_of(context: Any, builder: Any, own: Any, value: Any) -> Any:
        if isinstance(own, types.Array):
            array = context.make_array(own)(context, builder, value)
            return _pack(context, builder, SpanType(own.dtype), array.data, array.nitems)
        if _is_tuple(own):
            each = cgutils.unpack_tuple(builder, value)
            members = [span_of(context, builder, *pair) for pair in zip(own, each, strict=True)]
            return context.make_tuple(builder, spans_type(own), members)
        return value

    def take(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return span_of(context, builder, given, args[0])

    return spans_type(given)(given), take


spans: Any = intrinsic(_spans)


def _pack(context: Any, builder: Any, own: Any, data: Any, size: Any) -> Any:
    empty = context.get_constant_undef(own)
    return builder.insert_value(builder.insert_value(empty, data, 0), size, 1)


def _place(builder: Any, args: Any) -> Any:
    return builder.gep(builder.extract_value(args[0], 0), [args[1]])


@infer_global(operator.getitem)
class _GetItem(AbstractTemplate):
    def generic(self, args: Any, kws: Any) -> Any:
        own, place = args
        if isinstance(own, SpanType):
            if isinstance(place, types.Integer):
                return signature(own.dtype, own, types.intp)
            if place == types.slice2_type:
                return signature(own, own, place)
        return None


@infer_global(operator.setitem)
class _SetItem(AbstractTemplate):
    def generic(self, args: Any, kws: Any) -> Any:
        own, place, _ = args
        if isinstance(own, SpanType) and isinstance(place, types.Integer):
            return signature(types.none, own, types.intp, own.dtype)
        return None


@infer_getattr
class _Attributes(AttributeTemplate):
    key = SpanType

    def resolve_size(self, _: Any) -> Any:
        return types.intp


@lower_builtin(operator.getitem, SpanType, types.Integer)
def _get(context: Any, builder: Any, signature: Any, args: Any) -> Any:
    return context.unpack_value(builder, signature.args[0].dtype, _place(builder, args))


@lower_builtin(operator.setitem, SpanType, types.Integer, types.Any)
def _set(context: Any, builder: Any, signature: Any, args: Any) -> Any:
    context.pack_value(builder, signature.args[0].dtype, args[2], _place(builder, args))
    return context.get_dummy_value()


@lower_builtin(operator.getitem, SpanType, types.slice2_type)
def _part(context: Any, builder: Any, signature: Any, args: Any) -> Any:
    own, part = signature.args
    start = context.make_helper(builder, part, args[1]).start
    stop = context.make_helper(builder, part, args[1]).stop
    size = builder.extract_value(args[0], 1)
    stop = builder.select(builder.icmp_signed("<", stop, size), stop, size)
    data = _place(builder, [args[0], start])
    return _pack(context, builder, own, data, builder.sub(stop, start))


@lower_getattr(SpanType, "size")
def _size(context: Any, builder: Any, own: Any, value: Any) -> Any:
    return builder.extract_value(value, 1)
