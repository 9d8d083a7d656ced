"""Sixteen numbers at a time: the vectors in which the kernels look at agents, road segments and route points.

The compiler cannot prove that arrays do not overlap, and leaves loops that compare, choose and reduce in scalar form.
So hot loops say what they mean: ``Floats``, ``Ints`` and ``Mask`` are 16 lanes each, with operators and the functions
below; LLVM maps them to whatever the machine has. Every function has a plain reading in NumPy, which is what runs
without compilation.

Arrays are addressed flat (contiguous, any shape); a load or store covers ``LANES`` items from ``at`` on.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import numba
import numpy as np
from llvmlite import ir
from llvmlite.binding import get_host_cpu_features
from numba import types
from numba.core import cgutils
from numba.core.datamodel import models
from numba.core.typing.templates import ConcreteTemplate, infer_global, signature
from numba.extending import lower_builtin, register_model, type_callable

from drivetrain.sim.observation import INT8_STEP, encode

LANES = 16
_BIT, _BYTE, _SHORT, _INT, _LONG = (ir.IntType(width) for width in (1, 8, 16, 32, 64))
_FLOAT = ir.FloatType()
_CONTRACT = ("contract",)
_HAS_PERMUTE = not numba.config.CPU_NAME and bool(get_host_cpu_features().get("avx512f"))  # type: ignore[attr-defined]
"""LLVM has no portable permutation by variable lanes, and does not reliably find the machine's own."""


class _Lanes(types.Type):
    """Numba's type of 16 lanes of one kind."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        super().__init__(name=f"Lanes({kind})")


FLOATS, INTS, MASK = _Lanes("float"), _Lanes("int"), _Lanes("mask")
_ITEM = {"float": _FLOAT, "int": _INT, "mask": _BIT}


@register_model(_Lanes)
class _LanesModel(models.PrimitiveModel):
    def __init__(self, manager: Any, lanes: Any) -> None:
        super().__init__(manager, lanes, ir.VectorType(_ITEM[lanes.kind], LANES))


def _vector(item: ir.Type) -> ir.VectorType:
    return ir.VectorType(item, LANES)


def _constant(item: ir.Type, values: Any) -> ir.Constant:
    return ir.Constant(_vector(item), values if isinstance(values, list) else [values] * LANES)


def _spread(builder: Any, value: Any) -> Any:
    """Return a vector with one scalar in every lane; vectors stay."""
    if isinstance(value.type, ir.VectorType):
        return value
    vector = _vector(value.type)
    nothing = ir.Constant(vector, ir.Undefined)
    return builder.shuffle_vector(builder.insert_element(nothing, value, _INT(0)), nothing, _constant(_INT, 0))


def _where(context: Any, builder: Any, array_type: Any, array: Any, at: Any) -> Any:
    return builder.gep(context.make_array(array_type)(context, builder, array).data, [at])


def _operator(function: Callable, cases: list, emit: Callable) -> None:
    """Give an operator a meaning on lanes; scalars among its operands are spread."""
    register: Any = infer_global(function)
    register(type("LanesOperator", (ConcreteTemplate,), {"key": function, "cases": cases}))

    def lower(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return emit(builder, *(_spread(builder, value) for value in args))

    for case in cases:
        lower_builtin(function, *case.args)(lower)


def _arithmetic(result: Any, operand: Any, scalar: Any) -> list:
    return [signature(result, operand, operand), signature(result, operand, scalar), signature(result, scalar, operand)]


def _two_kinds(function: Callable, on_floats: Callable, on_ints: Callable, result: Any = None) -> None:
    _operator(function, _arithmetic(result or FLOATS, FLOATS, types.float32), on_floats)
    _operator(function, _arithmetic(result or INTS, INTS, types.int32), on_ints)


_two_kinds(operator.add, lambda b, x, y: b.fadd(x, y, flags=_CONTRACT), lambda b, x, y: b.add(x, y))
_two_kinds(operator.sub, lambda b, x, y: b.fsub(x, y, flags=_CONTRACT), lambda b, x, y: b.sub(x, y))
_two_kinds(operator.mul, lambda b, x, y: b.fmul(x, y, flags=_CONTRACT), lambda b, x, y: b.mul(x, y))
_operator(operator.truediv, _arithmetic(FLOATS, FLOATS, types.float32), lambda b, x, y: b.fdiv(x, y))
_operator(operator.neg, [signature(FLOATS, FLOATS)], lambda b, x: b.fneg(x))
for _function, _sign in (
    (operator.lt, "<"), (operator.le, "<="), (operator.gt, ">"), (operator.ge, ">="), (operator.eq, "=="),
):  # fmt: skip
    _two_kinds(
        _function,
        lambda b, x, y, sign=_sign: b.fcmp_ordered(sign, x, y),
        lambda b, x, y, sign=_sign: b.icmp_signed(sign, x, y),
        MASK,
    )
_two_kinds(operator.ne, lambda b, x, y: b.fcmp_unordered("!=", x, y), lambda b, x, y: b.icmp_signed("!=", x, y), MASK)
_operator(
    operator.and_, [signature(MASK, MASK, MASK), signature(INTS, INTS, types.int32)], lambda b, x, y: b.and_(x, y)
)
_operator(operator.eq, [signature(MASK, MASK, MASK)], lambda b, x, y: b.icmp_signed("==", x, y))
_operator(operator.or_, [signature(MASK, MASK, MASK)], lambda b, x, y: b.or_(x, y))


def _lowered(function: Callable, *kinds: Any) -> Callable:
    """Attach machine code to a function whose Python body is its plain reading."""

    def attach(emit: Callable) -> Callable:
        @lower_builtin(function, *kinds)
        def lower(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            result = emit(context, builder, signature, args)
            return context.get_dummy_value() if result is None else result

        return emit

    return attach


def _typed(function: Callable, result: Callable) -> None:
    """Attach a result type, given the types of the arguments; None where they do not fit."""

    @type_callable(function)
    def typer(context: Any) -> Callable:
        return result


def _lanes_of(array: Any) -> Any:
    if not isinstance(array, types.Array):
        return None
    return FLOATS if array.dtype == types.float32 else INTS


# --- making lanes -----------------------------------------------------------------------------------------------------


def load(array: Any, at: int) -> Any:
    """Return 16 items: Floats of a float32 array, Ints of any array of integers of at most 32 bits."""
    part = array.reshape(-1)[at : at + LANES]
    return part.copy() if part.dtype == np.float32 else part.astype(np.int32)


_typed(load, lambda array, at: _lanes_of(array))


@_lowered(load, types.Array, types.Integer)
def _(context: Any, builder: Any, signature: Any, args: Any) -> Any:
    kind = signature.args[0]
    item = context.get_data_type(kind.dtype)
    pointer = builder.bitcast(_where(context, builder, kind, *args), _vector(item).as_pointer())
    value = builder.load(pointer, align=kind.dtype.bitwidth // 8)
    if item in (_FLOAT, _INT):
        return value
    return builder.sext(value, _vector(_INT)) if kind.dtype.signed else builder.zext(value, _vector(_INT))


def gather(array: Any, first: int, index: Any, at: int) -> Any:
    """Return the items of a float32 array at ``first`` plus each of 16 indices, which stand in an int32 array."""
    return array.reshape(-1)[first + load(index, at).astype(np.int64)]


_typed(gather, lambda array, first, index, at: _lanes_of(array))


@_lowered(gather, types.Array, types.Integer, types.Array, types.Integer)
def _(context: Any, builder: Any, signature: Any, args: Any) -> Any:
    array, first, index, at = args
    begin = _where(context, builder, signature.args[0], array, first)
    indices = _where(context, builder, signature.args[2], index, at)
    value = ir.Constant(_vector(_FLOAT), ir.Undefined)
    for lane in range(LANES):  # the hardware's own gather is not faster
        offset = builder.sext(builder.load(builder.gep(indices, [_INT(lane)])), _LONG)
        value = builder.insert_element(value, builder.load(builder.gep(begin, [offset])), _INT(lane))
    return value


def floats(value: Any) -> Any:
    """Return a number in every lane, or Ints as Floats."""
    return value.astype(np.float32) if isinstance(value, np.ndarray) else np.full(LANES, value, dtype=np.float32)


_typed(floats, lambda value: FLOATS if value == INTS or isinstance(value, types.Number) else None)


@_lowered(floats, INTS)
def _(context: Any, builder: Any, signature: Any, args: Any) -> Any:
    return builder.sitofp(args[0], _vector(_FLOAT))


@_lowered(floats, types.Number)
def _(context: Any, builder: Any, signature: Any, args: Any) -> Any:
    return _spread(builder, context.cast(builder, args[0], signature.args[0], types.float32))


def ints(value: int) -> Any:
    """Return a whole number in every lane."""
    return np.full(LANES, value, dtype=np.int32)


_typed(ints, lambda value: INTS if isinstance(value, types.Integer) else None)


@_lowered(ints, types.Integer)
def _(context: Any, builder: Any, signature: Any, args: Any) -> Any:
    return _spread(builder, context.cast(builder, args[0], signature.args[0], types.int32))


def whole(value: Any) -> Any:
    """Return the nearest whole numbers of Floats as Ints, ties to even."""
    return np.rint(value).astype(np.int32)


_typed(whole, lambda value: INTS if value == FLOATS else None)


@_lowered(whole, FLOATS)
def _(context: Any, builder: Any, signature: Any, args: Any) -> Any:
    kind = ir.FunctionType(_vector(_FLOAT), [_vector(_FLOAT)])
    nearest = cgutils.get_or_insert_function(builder.module, kind, "llvm.rint.v16f32")
    return builder.fptosi(builder.call(nearest, args), _vector(_INT))


def numbers(first: int) -> Any:
    """Return ``first``, ``first + 1``, ... as Ints."""
    return np.arange(first, first + LANES, dtype=np.int32)


_typed(numbers, lambda first: INTS if isinstance(first, types.Integer) else None)


@_lowered(numbers, types.Integer)
def _(context: Any, builder: Any, signature: Any, args: Any) -> Any:
    first = _spread(builder, context.cast(builder, args[0], signature.args[0], types.int32))
    return builder.add(first, _constant(_INT, list(range(LANES))))


# --- computing with lanes ---------------------------------------------------------------------------------------------


def select(mask: Any, yes: Any, no: Any) -> Any:
    """Return ``yes`` where the mask is set, else ``no``: two lanes of one kind."""
    return np.where(mask, yes, no)


_typed(select, lambda mask, yes, no: yes if mask == MASK and yes == no else None)


@_lowered(select, MASK, _Lanes, _Lanes)
def _(context: Any, builder: Any, signature: Any, args: Any) -> Any:
    return builder.select(*args)


def permute(value: Any, order: Any) -> Any:
    """Return the Floats that stand in the lanes ``order`` (Ints, of which the lowest four bits count)."""
    return value[order & (LANES - 1)]


_typed(permute, lambda value, order: FLOATS if value == FLOATS and order == INTS else None)


@_lowered(permute, FLOATS, INTS)
def _(context: Any, builder: Any, signature: Any, args: Any) -> Any:
    value, order = args[0], builder.and_(args[1], _constant(_INT, LANES - 1))
    if _HAS_PERMUTE:
        kind = ir.FunctionType(value.type, [value.type, order.type])
        instruction = cgutils.get_or_insert_function(builder.module, kind, "llvm.x86.avx512.permvar.sf.512")
        return builder.call(instruction, [value, order])
    result = ir.Constant(_vector(_FLOAT), ir.Undefined)
    for lane in range(LANES):
        item = builder.extract_element(value, builder.extract_element(order, _INT(lane)))
        result = builder.insert_element(result, item, _INT(lane))
    return result


def least(x: Any, y: Any) -> Any:
    """Return the smaller of two Floats, lane by lane; ``y`` may be a number."""
    return np.minimum(x, np.float32(y) if np.ndim(y) == 0 else y)


def most(x: Any, y: Any) -> Any:
    """Return the larger of two Floats, lane by lane; ``y`` may be a number."""
    return np.maximum(x, np.float32(y) if np.ndim(y) == 0 else y)


for _function, _sign in ((least, "<"), (most, ">")):
    _typed(_function, lambda x, y: FLOATS if x == FLOATS and (y == FLOATS or isinstance(y, types.Number)) else None)
    for _kind in (_Lanes, types.Number):

        @_lowered(_function, _Lanes, _kind)
        def _(context: Any, builder: Any, signature: Any, args: Any, sign: str = _sign) -> Any:
            x, y = args
            if signature.args[1] != FLOATS:
                y = _spread(builder, context.cast(builder, y, signature.args[1], types.float32))
            return builder.select(builder.fcmp_ordered(sign, x, y), x, y)


def magnitude(x: Any) -> Any:
    """Return absolute values of Floats."""
    return np.abs(x)


def root(x: Any) -> Any:
    """Return square roots of Floats."""
    return np.sqrt(x)


for _function, _name in ((magnitude, "fabs"), (root, "sqrt")):
    _typed(_function, lambda x: FLOATS if x == FLOATS else None)

    @_lowered(_function, FLOATS)
    def _(context: Any, builder: Any, signature: Any, args: Any, name: str = _name) -> Any:
        vector = _vector(_FLOAT)
        kind = ir.FunctionType(vector, [vector])
        return builder.call(cgutils.get_or_insert_function(builder.module, kind, f"llvm.{name}.v16f32"), args)


# --- from lanes to something else -------------------------------------------------------------------------------------


def store(array: Any, at: int, value: Any) -> None:
    """Write 16 items: Floats into a float32 array, Ints into an int32 array."""
    array.reshape(-1)[at : at + LANES] = value


_typed(store, lambda array, at, value: types.void if _lanes_of(array) == value else None)


@_lowered(store, types.Array, types.Integer, _Lanes)
def _(context: Any, builder: Any, signature: Any, args: Any) -> None:
    array, at, value = args
    pointer = builder.bitcast(_where(context, builder, signature.args[0], array, at), value.type.as_pointer())
    builder.store(value, pointer, align=4)


def store_as(array: Any, at: int, value: Any) -> None:
    """Write Floats as an observation's data type: float32, bfloat16 (in uint16) or int8 in steps of ``INT8_STEP``."""
    array.reshape(-1)[at : at + LANES] = encode(value, array.dtype)


_typed(store_as, lambda array, at, value: types.void if value == FLOATS else None)


@_lowered(store_as, types.Array, types.Integer, FLOATS)
def _(context: Any, builder: Any, signature: Any, args: Any) -> None:
    array, at, value = args
    kind = signature.args[0].dtype
    if kind == types.int8:
        scaled = builder.fadd(builder.fmul(value, _constant(_FLOAT, 1.0 / INT8_STEP)), _constant(_FLOAT, 128.5))
        whole = builder.fptosi(scaled, _vector(_INT))
        for sign, bound in ((">", 1), ("<", 255)):
            limit = _constant(_INT, bound)
            whole = builder.select(builder.icmp_signed(sign, whole, limit), whole, limit)
        value = builder.trunc(builder.sub(whole, _constant(_INT, 128)), _vector(_BYTE))
    elif kind == types.uint16:
        pattern = builder.bitcast(value, _vector(_INT))
        odd = builder.and_(builder.lshr(pattern, _constant(_INT, 16)), _constant(_INT, 1))
        rounded = builder.add(pattern, builder.add(odd, _constant(_INT, 0x7FFF)))
        value = builder.trunc(builder.lshr(rounded, _constant(_INT, 16)), _vector(_SHORT))
    pointer = builder.bitcast(_where(context, builder, signature.args[0], array, at), value.type.as_pointer())
    builder.store(value, pointer, align=kind.bitwidth // 8)


def is_zero(array: Any, at: int, count: int) -> bool:
    """Return whether ``count`` items from ``at`` on, at least 64 bytes of them, have no bit set."""
    return not array.reshape(-1)[at : at + count].any()


_typed(is_zero, lambda array, at, count: types.boolean if isinstance(array, types.Array) else None)


@_lowered(is_zero, types.Array, types.Integer, types.Integer)
def _(context: Any, builder: Any, signature: Any, args: Any) -> Any:
    array, at, count = args
    kind, vector = signature.args[0], _vector(_INT)
    begin = builder.bitcast(_where(context, builder, kind, array, at), _BYTE.as_pointer())
    seen = cgutils.alloca_once_value(builder, _constant(_INT, 0))

    def look(offset: Any) -> None:
        items = builder.load(builder.bitcast(builder.gep(begin, [offset]), vector.as_pointer()), align=1)
        builder.store(builder.or_(builder.load(seen), items), seen)

    last = builder.sub(builder.mul(count, count.type(kind.dtype.bitwidth // 8)), count.type(64))
    with cgutils.for_range_slice(builder, count.type(0), last, count.type(64)) as (offset, _):
        look(offset)
    look(last)  # overlaps the one before
    reduce = ir.FunctionType(_INT, [vector])
    total = cgutils.get_or_insert_function(builder.module, reduce, "llvm.vector.reduce.or.v16i32")
    return builder.icmp_signed("==", builder.call(total, [builder.load(seen)]), _INT(0))


def bits(mask: Any) -> int:
    """Return a mask as a number whose bit k is lane k."""
    return int(sum(1 << k for k in range(LANES) if mask[k]))


_typed(bits, lambda mask: types.int64 if mask == MASK else None)


@_lowered(bits, MASK)
def _(context: Any, builder: Any, signature: Any, args: Any) -> Any:
    return builder.zext(builder.bitcast(args[0], _SHORT), _LONG)


def lowest(bits: int) -> int:
    """Return the number of the lowest bit that is set; ``bits`` is not 0."""
    return (bits & -bits).bit_length() - 1


_typed(lowest, lambda bits: types.int64 if isinstance(bits, types.Integer) else None)


@_lowered(lowest, types.Integer)
def _(context: Any, builder: Any, signature: Any, args: Any) -> Any:
    return builder.cttz(context.cast(builder, args[0], signature.args[0], types.int64), _BIT(1))


def where_least(value: Any, number: Any) -> int:
    """Return the smallest of ``number`` (Ints) among the lanes in which ``value`` (Floats, none negative) is least."""
    return int(number[value == value.min()].min())


_typed(where_least, lambda value, number: types.int64 if value == FLOATS and number == INTS else None)


@_lowered(where_least, FLOATS, INTS)
def _(context: Any, builder: Any, signature: Any, args: Any) -> Any:
    # Floats that are not negative have the order of their bit patterns.
    value, number = builder.bitcast(args[0], _vector(_INT)), args[1]
    kind = ir.FunctionType(_INT, [_vector(_INT)])
    minimum = cgutils.get_or_insert_function(builder.module, kind, "llvm.vector.reduce.smin.v16i32")
    is_least = builder.icmp_signed("==", value, _spread(builder, builder.call(minimum, [value])))
    chosen = builder.select(is_least, number, _constant(_INT, 2**31 - 1))
    return builder.sext(builder.call(minimum, [chosen]), _LONG)
