"""Compiled loops of the fused set encoder.

B rows, F features, P entities, H outputs (a multiple of ``LANES``).

The innermost operation is written as vectors of fixed width: the compiler cannot prove that the arrays do not
overlap and would otherwise keep maxima and winners in memory. LLVM maps the vectors to whatever the machine has.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic
from numpy.typing import NDArray

from drivetrain.sim.kernel_cache import jit

LANES = 32
"""Outputs computed together."""
_FLOATS, _INTS, _SHORTS = (ir.VectorType(t, LANES) for t in (ir.FloatType(), ir.IntType(32), ir.IntType(16)))


def _pointer(context: Any, builder: Any, array_type: Any, array: Any, offset: Any) -> Any:
    return builder.gep(context.make_array(array_type)(context, builder, array).data, [offset])


def _vector(builder: Any, pointer: Any, kind: Any) -> Any:
    return builder.bitcast(pointer, kind.as_pointer())


def _splat(builder: Any, value: Any) -> Any:
    vector = ir.VectorType(value.type, LANES)
    first = builder.insert_element(ir.Constant(vector, ir.Undefined), value, ir.IntType(32)(0))
    zeros = ir.Constant(ir.VectorType(ir.IntType(32), LANES), [0] * LANES)
    return builder.shuffle_vector(first, ir.Constant(vector, ir.Undefined), zeros)


def _multiply_add(builder: Any, a: Any, b: Any, c: Any) -> Any:
    kind = ir.FunctionType(a.type, [a.type] * 3)
    fma = cgutils.get_or_insert_function(builder.module, kind, f"llvm.fma.v{a.type.count}f32")
    return builder.call(fma, [a, b, c])


@intrinsic
def _pool_block(
    typing_context: Any,
    x: Any,
    x_at: Any,
    shape: Any,
    weight: Any,
    bias: Any,
    block: Any,
    y: Any,
    y_at: Any,
    winner: Any,
) -> Any:
    """Maximum and winner of ``LANES`` outputs over the present entities of one row.

    ``shape`` = (F, P, presence feature or -1, H); ``x_at``, ``block`` and ``y_at`` are element offsets of the row's
    entities, of the block within the outputs, and of the block within ``y`` and ``winner``.
    """
    signature = types.void(x, x_at, shape, weight, bias, block, y, y_at, winner)

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        x, x_at, shape, weight, bias, block, y, y_at, winner = args
        kinds = signature.args
        num_features, num_entities, presence, num_outputs = cgutils.unpack_tuple(builder, shape)
        minus_infinity = ir.Constant(_FLOATS, [float("-inf")] * LANES)
        best = cgutils.alloca_once_value(builder, minus_infinity)
        index = cgutils.alloca_once_value(builder, ir.Constant(_INTS, [-1] * LANES))
        z = cgutils.alloca_once(builder, _FLOATS)
        rows = _pointer(context, builder, kinds[0], x, x_at)
        columns = _pointer(context, builder, kinds[3], weight, block)
        with cgutils.for_range(builder, num_entities) as entity:
            is_always = builder.icmp_signed("<", presence, presence.type(0))
            mark_at = builder.select(is_always, presence.type(0), builder.mul(presence, num_entities))
            mark = builder.load(builder.gep(rows, [builder.add(mark_at, entity.index)]))
            is_marked = builder.fcmp_unordered("!=", mark, mark.type(0.0))
            with builder.if_then(builder.or_(is_always, is_marked)):
                builder.store(ir.Constant(_FLOATS, [0.0] * LANES), z)
                with cgutils.for_range(builder, num_features) as feature:
                    value_at = builder.add(builder.mul(feature.index, num_entities), entity.index)
                    value = _splat(builder, builder.load(builder.gep(rows, [value_at])))
                    weights = builder.gep(columns, [builder.mul(feature.index, num_outputs)])
                    w = builder.load(_vector(builder, weights, _FLOATS), align=4)
                    builder.store(_multiply_add(builder, value, w, builder.load(z)), z)
                is_better = builder.fcmp_ordered(">", builder.load(z), builder.load(best))
                builder.store(builder.select(is_better, builder.load(z), builder.load(best)), best)
                number = _splat(builder, builder.trunc(entity.index, ir.IntType(32)))
                builder.store(builder.select(is_better, number, builder.load(index)), index)
        shift = builder.load(_vector(builder, _pointer(context, builder, kinds[4], bias, block), _FLOATS), align=4)
        total = builder.fadd(builder.load(best), shift)
        nothing = ir.Constant(_FLOATS, [0.0] * LANES)
        is_alive = builder.fcmp_ordered(">", total, nothing)
        y_out = _vector(builder, _pointer(context, builder, kinds[6], y, y_at), _FLOATS)
        builder.store(builder.select(is_alive, total, nothing), y_out, align=4)
        chosen = builder.select(is_alive, builder.load(index), ir.Constant(_INTS, [-1] * LANES))
        winner_out = _vector(builder, _pointer(context, builder, kinds[8], winner, y_at), _SHORTS)
        builder.store(builder.trunc(chosen, _SHORTS), winner_out, align=2)
        return context.get_dummy_value()

    return signature, generate


@jit
def pool_forward(
    x: NDArray,
    start: int,
    shape: tuple[int, int, int, int],
    weight: NDArray,
    bias: NDArray,
    y: NDArray,
    winner: NDArray,
) -> None:
    """Fill y [B, H] with ReLU(max + bias) and ``winner`` [B, H] with the entity to blame, -1 where y is zero.

    Args:
        x: Flat rows, shape [B, D], rows may be strided.
        start: Index of the first value of the set within a row.
        shape: (F, P, presence feature or -1, H).
        weight: Shape [F, H], contiguous; twice as fast when it starts on a cache line, as tensors do.
        bias: Shape [H].
        y: Output, shape [B, H], contiguous.
        winner: Output, shape [B, H], int16, contiguous.
    """
    for row in range(y.shape[0]):
        for block in range(0, y.shape[1], LANES):
            _pool_block(x[row], start, shape, weight, bias, block, y, row * y.shape[1] + block, winner)  # type: ignore[call-arg]


@jit
def pool_backward(
    x: NDArray,
    start: int,
    shape: tuple[int, int, int, int],
    gradient: NDArray,
    winner: NDArray,
    d_weight: NDArray,
    d_bias: NDArray,
) -> None:
    """Add the gradients of the weight and the bias; only winners have one.

    Args:
        x: Flat rows, shape [B, D], rows may be strided.
        start: Index of the first value of the set within a row.
        shape: As in :func:`pool_forward`.
        gradient: Of the loss by y, shape [B, H].
        winner: From :func:`pool_forward`.
        d_weight: Sums, shape [H, F].
        d_bias: Sums, shape [H].
    """
    num_features, num_entities = shape[0], shape[1]
    for row in range(gradient.shape[0]):
        for h in range(gradient.shape[1]):
            p = winner[row, h]
            if p >= 0:
                g = gradient[row, h]
                d_bias[h] += g
                for f in range(num_features):
                    d_weight[h, f] += g * x[row, start + f * num_entities + p]
