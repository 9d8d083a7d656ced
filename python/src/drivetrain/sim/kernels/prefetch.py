"""Ask the machine for memory before it is needed.

A step of one world reads a few kilobytes scattered over gigabytes: its log frame, its stretch of route, its state. The
kernels know these addresses several worlds ahead, the processor does not; without a hint it waits for each in turn.
A hint changes no result, and on plain Python it is nothing.
"""

from __future__ import annotations

from typing import Any

import numba
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from drivetrain.sim.kernel_cache import kernel

LINE = 64
"""Bytes of a cache line."""


@intrinsic
def _prefetch_byte(typing_context: Any, array: Any, offset: Any) -> Any:
    """Hint that the byte at ``offset`` of a contiguous array will be read."""
    signature = types.void(array, types.intp)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        data = context.make_array(signature.args[0])(context, builder, arguments[0]).data
        byte = ir.IntType(8).as_pointer()
        where = builder.gep(builder.bitcast(data, byte), [arguments[1]])
        kind = ir.FunctionType(ir.VoidType(), [byte] + [ir.IntType(32)] * 3)
        hint = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0")
        read, second_level, is_data = (ir.IntType(32)(n) for n in (0, 2, 1))
        builder.call(hint, [where, read, second_level, is_data])
        return context.get_dummy_value()

    return signature, generate


def _nothing(array, first, count):
    """Do nothing: plain Python has no use for the hint."""


@kernel(inline=True)
def _hint(array, first, count):
    """Hint that items ``first`` to ``first + count`` (counted flat) will be read; beyond the end does no harm."""
    begin, end = first * array.itemsize, (first + count) * array.itemsize
    for line in range(begin, end, LINE):
        _prefetch_byte(array, line)  # type: ignore[call-arg]
    _prefetch_byte(array, end - 1)  # type: ignore[call-arg]


prefetch = _nothing if numba.config.DISABLE_JIT else _hint  # type: ignore[attr-defined]
