"""Compiled loops of the fused observation encoder: plain values copied, sets pooled, one pass over each row.

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
    weight_at: Any,
    bias: Any,
    bias_at: Any,
    y: Any,
    y_at: Any,
    winner: Any,
    winner_at: Any,
) -> Any:
    """Maximum and winner of ``LANES`` outputs over the present entities of one row.

    ``shape`` = (F, P, presence feature or -1, H); every ``_at`` is an element offset: of the row's entities, and of
    the first output of the block in the other arrays.
    """
    signature = types.void(x, x_at, shape, weight, weight_at, bias, bias_at, y, y_at, winner, winner_at)

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        x, x_at, shape, weight, weight_at, bias, bias_at, y, y_at, winner, winner_at = args
        kinds = signature.args
        num_features, num_entities, presence, num_outputs = cgutils.unpack_tuple(builder, shape)
        minus_infinity = ir.Constant(_FLOATS, [float("-inf")] * LANES)
        best = cgutils.alloca_once_value(builder, minus_infinity)
        index = cgutils.alloca_once_value(builder, ir.Constant(_INTS, [-1] * LANES))
        z = cgutils.alloca_once(builder, _FLOATS)
        rows = _pointer(context, builder, kinds[0], x, x_at)
        columns = _pointer(context, builder, kinds[3], weight, weight_at)
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
        shift = builder.load(_vector(builder, _pointer(context, builder, kinds[5], bias, bias_at), _FLOATS), align=4)
        total = builder.fadd(builder.load(best), shift)
        nothing = ir.Constant(_FLOATS, [0.0] * LANES)
        is_alive = builder.fcmp_ordered(">", total, nothing)
        y_out = _vector(builder, _pointer(context, builder, kinds[7], y, y_at), _FLOATS)
        builder.store(builder.select(is_alive, total, nothing), y_out, align=4)
        chosen = builder.select(is_alive, builder.load(index), ir.Constant(_INTS, [-1] * LANES))
        winner_out = _vector(builder, _pointer(context, builder, kinds[9], winner, winner_at), _SHORTS)
        builder.store(builder.trunc(chosen, _SHORTS), winner_out, align=2)
        return context.get_dummy_value()

    return signature, generate


@jit
def encode_forward(
    x: NDArray, runs: NDArray, sets: NDArray, weight: NDArray, bias: NDArray, out: NDArray, winner: NDArray
) -> None:
    """Fill the network input, and for every pooled output the entity to blame (-1 where the output is zero).

    Args:
        x: Flat rows, shape [B, D], float32; rows may be strided.
        runs: Plain values to copy, (source, length, target) each, shape [R, 3], int64.
        sets: One row per set: (start in x, F, P, presence feature or -1, H, start in weight, start in bias and winner,
            start in out), shape [S, 8], int64.
        weight: All weights [F, H], flattened one after the other; should start on a cache line, as tensors do.
        bias: All biases.
        out: Output, shape [B, W], float32, contiguous.
        winner: Output, shape [B, sum of H], int16, contiguous.
    """
    stride = x.strides[0] // x.itemsize
    for row in range(out.shape[0]):
        for r in range(runs.shape[0]):
            source, target = runs[r, 0], runs[r, 2]
            for i in range(runs[r, 1]):
                out[row, target + i] = x[row, source + i]
        for s in range(sets.shape[0]):
            x_at = row * stride + sets[s, 0]
            shape = (sets[s, 1], sets[s, 2], sets[s, 3], sets[s, 4])
            for block in range(0, sets[s, 4], LANES):
                _pool_block(  # type: ignore[call-arg]
                    x,
                    x_at,
                    shape,
                    weight,
                    sets[s, 5] + block,
                    bias,
                    sets[s, 6] + block,
                    out,
                    row * out.shape[1] + sets[s, 7] + block,
                    winner,
                    row * winner.shape[1] + sets[s, 6] + block,
                )


@jit
def encode_backward(
    x: NDArray, sets: NDArray, gradient: NDArray, winner: NDArray, d_weight: NDArray, d_bias: NDArray
) -> None:
    """Add the gradients of weights and biases; only winners have one.

    Args:
        x: As in :func:`encode_forward`.
        sets: As in :func:`encode_forward`.
        gradient: Of the loss by ``out``, shape [B, W].
        winner: From :func:`encode_forward`.
        d_weight: Sums, flattened like the weights but each transposed to [H, F].
        d_bias: Sums, shape [sum of H].
    """
    for row in range(gradient.shape[0]):
        for s in range(sets.shape[0]):
            start, num_features, num_entities = sets[s, 0], sets[s, 1], sets[s, 2]
            for h in range(sets[s, 4]):
                p = winner[row, sets[s, 6] + h]
                if p >= 0:
                    g = gradient[row, sets[s, 7] + h]
                    d_bias[sets[s, 6] + h] += g
                    at = sets[s, 5] + h * num_features
                    for f in range(num_features):
                        d_weight[at + f] += g * x[row, start + f * num_entities + p]
