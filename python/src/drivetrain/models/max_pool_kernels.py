"""Compiled loops of the fused observation encoder: plain values copied, sets pooled, one pass over each row.

B rows, F features, P entities, H outputs (a multiple of ``LANES``).

The innermost operation is written as vectors of fixed width: the compiler cannot prove that the arrays do not
overlap and would otherwise keep maxima and winners in memory. LLVM maps the vectors to whatever the machine has.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic
from numpy.typing import NDArray

from drivetrain.sim.kernel_cache import jit
from drivetrain.sim.observation import INT8_STEP

LANES = 32
"""Outputs computed together."""
TOGETHER = 4
"""Entities computed together: their sums are independent, so that no multiplication waits for the one before."""
WIDTH = 16
"""Floats of a row of entity features, as the backward pass lays them out."""
_FLOATS, _INTS, _SHORTS = (ir.VectorType(t, LANES) for t in (ir.FloatType(), ir.IntType(32), ir.IntType(16)))


def _pointer(context: Any, builder: Any, array_type: Any, array: Any, offset: Any) -> Any:
    return builder.gep(context.make_array(array_type)(context, builder, array).data, [offset])


def _vector(builder: Any, pointer: Any, kind: Any) -> Any:
    return builder.bitcast(pointer, kind.as_pointer())


def _splat(builder: Any, value: Any, count: int = LANES) -> Any:
    vector = ir.VectorType(value.type, count)
    first = builder.insert_element(ir.Constant(vector, ir.Undefined), value, ir.IntType(32)(0))
    zeros = ir.Constant(ir.VectorType(ir.IntType(32), count), [0] * count)
    return builder.shuffle_vector(first, ir.Constant(vector, ir.Undefined), zeros)


def _multiply_add(builder: Any, a: Any, b: Any, c: Any) -> Any:
    kind = ir.FunctionType(a.type, [a.type] * 3)
    fma = cgutils.get_or_insert_function(builder.module, kind, f"llvm.fma.v{a.type.count}f32")
    return builder.call(fma, [a, b, c])


def _widen(builder: Any, value: Any) -> Any:
    """Return a stored observation value as float32: float32, bfloat16 (as uint16) or int8 (``INT8_STEP``)."""
    if value.type == ir.FloatType():
        return value
    if value.type == ir.IntType(8):
        return builder.fmul(builder.sitofp(value, ir.FloatType()), ir.FloatType()(INT8_STEP))
    bits = builder.shl(builder.zext(value, ir.IntType(32)), ir.IntType(32)(16))
    return builder.bitcast(bits, ir.FloatType())


@intrinsic
def _value(typing_context: Any, x: Any, at: Any) -> Any:
    """Return the value at a flat offset of an observation as float32."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return _widen(builder, builder.load(_pointer(context, builder, signature.args[0], *args)))

    return types.float32(x, types.intp), generate


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
        nothing = ir.Constant(_FLOATS, [0.0] * LANES)
        best = cgutils.alloca_once_value(builder, minus_infinity)
        index = cgutils.alloca_once_value(builder, ir.Constant(_INTS, [-1] * LANES))
        z = [cgutils.alloca_once(builder, _FLOATS) for _ in range(TOGETHER)]
        rows = _pointer(context, builder, kinds[0], x, x_at)
        columns = _pointer(context, builder, kinds[3], weight, weight_at)
        one = num_entities.type(1)
        is_always = builder.icmp_signed("<", presence, presence.type(0))
        marks = builder.mul(builder.select(is_always, presence.type(0), presence), num_entities)
        last = builder.sub(num_entities, one)
        with cgutils.for_range_slice(
            builder, num_entities.type(0), num_entities, num_entities.type(TOGETHER), num_entities.type
        ) as (first, _):
            # Beyond the last entity the last one is seen again, which changes no maximum and no winner.
            entities = [builder.add(first, num_entities.type(k)) for k in range(TOGETHER)]
            entities = [builder.select(builder.icmp_signed("<", e, last), e, last) for e in entities]
            present = []
            for entity in entities:
                mark = builder.load(builder.gep(rows, [builder.add(marks, entity)]))
                is_marked = builder.fcmp_unordered("!=", _widen(builder, mark), ir.FloatType()(0.0))
                present.append(builder.or_(is_always, is_marked))
            anybody = present[0]
            for here in present[1:]:
                anybody = builder.or_(anybody, here)
            with builder.if_then(anybody):
                for k, here in enumerate(present):
                    builder.store(builder.select(here, nothing, minus_infinity), z[k])
                with cgutils.for_range(builder, num_features) as feature:
                    values = builder.gep(rows, [builder.mul(feature.index, num_entities)])
                    weights = builder.gep(columns, [builder.mul(feature.index, num_outputs)])
                    w = builder.load(_vector(builder, weights, _FLOATS), align=4)
                    for k, entity in enumerate(entities):
                        value = _splat(builder, _widen(builder, builder.load(builder.gep(values, [entity]))))
                        builder.store(_multiply_add(builder, value, w, builder.load(z[k])), z[k])
                for k, entity in enumerate(entities):
                    is_better = builder.fcmp_ordered(">", builder.load(z[k]), builder.load(best))
                    builder.store(builder.select(is_better, builder.load(z[k]), builder.load(best)), best)
                    number = _splat(builder, builder.trunc(entity, ir.IntType(32)))
                    builder.store(builder.select(is_better, number, builder.load(index)), index)
        shift = builder.load(_vector(builder, _pointer(context, builder, kinds[5], bias, bias_at), _FLOATS), align=4)
        total = builder.fadd(builder.load(best), shift)
        is_alive = builder.fcmp_ordered(">", total, nothing)
        y_out = _vector(builder, _pointer(context, builder, kinds[7], y, y_at), _FLOATS)
        builder.store(builder.select(is_alive, total, nothing), y_out, align=4)
        chosen = builder.select(is_alive, builder.load(index), ir.Constant(_INTS, [-1] * LANES))
        winner_out = _vector(builder, _pointer(context, builder, kinds[9], winner, winner_at), _SHORTS)
        builder.store(builder.trunc(chosen, _SHORTS), winner_out, align=2)
        return context.get_dummy_value()

    return signature, generate


@jit
def encode_forward(x: NDArray, runs: NDArray, sets: NDArray, theta: NDArray, out: NDArray, winner: NDArray) -> None:
    """Fill the network input, and for every pooled output the entity to blame (-1 where the output is zero).

    Args:
        x: Flat rows, shape [B, D], a type of ``OBSERVATION_DTYPES``; rows may be strided.
        runs: Plain values to copy, (source, length, target) each, shape [R, 3], int64.
        sets: One row per set: (start in x, F, P, presence feature or -1, H, start of its weights [F, H] in theta, start
            of its bias in theta, start in winner, start in out), shape [S, 9], int64.
        theta: Flat parameters.
        out: Output, shape [B, W], float32, contiguous.
        winner: Output, shape [B, sum of H], int16, contiguous.
    """
    stride = x.strides[0] // x.itemsize
    for row in range(out.shape[0]):
        for r in range(runs.shape[0]):
            source, target = runs[r, 0], runs[r, 2]
            for i in range(runs[r, 1]):
                out[row, target + i] = _value(x, row * stride + source + i)  # type: ignore[call-arg]
        for s in range(sets.shape[0]):
            x_at = row * stride + sets[s, 0]
            shape = (sets[s, 1], sets[s, 2], sets[s, 3], sets[s, 4])
            for block in range(0, sets[s, 4], LANES):
                _pool_block(  # type: ignore[call-arg]
                    x,
                    x_at,
                    shape,
                    theta,
                    sets[s, 5] + block,
                    theta,
                    sets[s, 6] + block,
                    out,
                    row * out.shape[1] + sets[s, 8] + block,
                    winner,
                    row * winner.shape[1] + sets[s, 7] + block,
                )


@intrinsic
def _add_scaled(typing_context: Any, total: Any, total_at: Any, scale: Any, x: Any, x_at: Any) -> Any:
    """``total[total_at:][:WIDTH] += scale * x[x_at:][:WIDTH]`` on flat offsets of contiguous arrays."""
    signature = types.void(total, total_at, scale, x, x_at)

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        total, total_at, scale, x, x_at = args
        row = ir.VectorType(ir.FloatType(), WIDTH)
        source = _vector(builder, _pointer(context, builder, signature.args[3], x, x_at), row)
        target = _vector(builder, _pointer(context, builder, signature.args[0], total, total_at), row)
        scales = _splat(builder, scale, WIDTH)
        value = _multiply_add(builder, scales, builder.load(source, align=4), builder.load(target, align=4))
        builder.store(value, target, align=4)
        return context.get_dummy_value()

    return signature, generate


@jit
def encode_backward(
    x: NDArray, sets: NDArray, gradient: NDArray, first: int, winner: NDArray, entities: NDArray, total: NDArray
) -> None:
    """Add the gradients of weights and biases; only winners have one.

    Args:
        x: As in :func:`encode_forward`.
        sets: As in :func:`encode_forward`.
        gradient: Of the loss by the encoded rows from column ``first`` on, shape [B, W - first], contiguous.
        first: The first column that ``gradient`` holds.
        winner: From :func:`encode_forward`.
        entities: Scratch, shape [most P, L], float32, L a multiple of ``WIDTH`` above the most F. Entities are
            copied here one row each, with a last feature of one (the bias is its weight), when they win first.
        total: Sums per pooled output, its weights and then its bias, shape [sum of H, L].
    """
    width, stride = entities.shape[1], x.strides[0] // x.itemsize
    copied = np.empty(entities.shape[0], dtype=np.int64)
    for s in range(sets.shape[0]):
        start, num_features, num_entities, num_outputs = sets[s, 0], sets[s, 1], sets[s, 2], sets[s, 4]
        base, column = sets[s, 7], sets[s, 8] - first
        entities[:] = np.float32(0.0)
        copied[:] = -1
        for row in range(gradient.shape[0]):
            for h in range(num_outputs):
                p = winner[row, base + h]
                if p < 0:
                    continue
                if copied[p] != row:
                    copied[p] = row
                    for f in range(num_features):
                        at = row * stride + start + f * num_entities + p
                        entities[p, f] = _value(x, at)  # type: ignore[call-arg]
                    entities[p, num_features] = np.float32(1.0)
                for block in range(0, width, WIDTH):
                    _add_scaled(  # type: ignore[call-arg]
                        total, (base + h) * width + block, gradient[row, column + h], entities, p * width + block
                    )
