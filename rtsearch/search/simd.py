"""The one place where processor instructions are named: scoring a block of 16 codes against a query.

A block holds 16 points whose coordinates are 7-bit codes, laid out so that four dimensions of all 16 points
lie in 64 consecutive bytes. :func:`score_block` writes ``norm - scale * dot(code, query)`` of each point,
which orders points as their distance to the query does, and returns a bit mask of those below a limit.

The instructions follow from the processor that numba compiles for (``NUMBA_CPU_FEATURES`` counts):
AVX-512 VNNI or AVX2 on x86-64. Everywhere else, and wherever ``RTSEARCH_SIMD=off`` is set, the kernels are
compiled with :func:`kernels.plain_score_block`, an ordinary loop that gives the same integers.
"""

from __future__ import annotations

import os
from typing import Any

import llvmlite.binding as llvm
from llvmlite import ir
from numba import config, types
from numba.core import cgutils
from numba.extending import intrinsic

__all__ = ["BLOCK", "instructions", "load_pointer", "prefetch", "score_block"]

BLOCK = 16  # points per block: one 512-bit register of scores

_F32, _I8, _I16, _I32, _I64 = ir.FloatType(), ir.IntType(8), ir.IntType(16), ir.IntType(32), ir.IntType(64)
_FAST = ("fast",)


def instructions() -> str:
    """Name the instructions that blocks are scored with: ``avx512vnni``, ``avx2`` or ``plain``."""
    if os.environ.get("RTSEARCH_SIMD", "").lower() == "off":
        return "plain"
    return _vector_instructions()


def _vector_instructions() -> str:
    if config.CPU_FEATURES is not None:
        features = {f[1:] for f in config.CPU_FEATURES.split(",") if f.startswith("+")}
    else:
        features = {name for name, there in llvm.get_host_cpu_features().items() if there}
    if {"avx512f", "avx512bw", "avx512vnni"} <= features:
        return "avx512vnni"
    return "avx2" if "avx2" in features else "plain"


def _pointer(context: Any, builder: Any, array_type: Any, value: Any, kind: Any) -> Any:
    data = context.make_array(array_type)(context, builder, value).data
    return builder.bitcast(data, kind.as_pointer())


def _spread(builder: Any, scalar: Any, lanes: int) -> Any:
    """One scalar in every lane of a vector."""
    vector = ir.VectorType(scalar.type, lanes)
    undefined = ir.Constant(vector, ir.Undefined)
    first = builder.insert_element(undefined, scalar, ir.Constant(_I32, 0))
    return builder.shuffle_vector(first, undefined, ir.Constant(ir.VectorType(_I32, lanes), [0] * lanes))


def _dot_vnni(builder: Any, codes: Any, four: Any, total: Any) -> Any:
    """total + dot of 16 x 4 codes with 4 query bytes: one instruction."""
    v16 = ir.VectorType(_I32, 16)
    function = cgutils.get_or_insert_function(
        builder.module, ir.FunctionType(v16, [v16, v16, v16]), "llvm.x86.avx512.vpdpbusd.512"
    )
    block = builder.load(builder.bitcast(codes, v16.as_pointer()), align=1)
    return [builder.call(function, [total[0], block, _spread(builder, four, 16)])]


def _dot_avx2(builder: Any, codes: Any, four: Any, total: Any) -> Any:
    """The same for two halves of 8 points; 7-bit codes cannot overflow the 16-bit sums (2 * 127 * 127)."""
    v32, v16, v8 = ir.VectorType(_I8, 32), ir.VectorType(_I16, 16), ir.VectorType(_I32, 8)
    pairs = cgutils.get_or_insert_function(
        builder.module, ir.FunctionType(v16, [v32, v32]), "llvm.x86.avx2.pmadd.ub.sw"
    )
    fours = cgutils.get_or_insert_function(
        builder.module, ir.FunctionType(v8, [v16, v16]), "llvm.x86.avx2.pmadd.wd"
    )
    query = builder.bitcast(_spread(builder, four, 8), v32)
    ones = ir.Constant(v16, [1] * 16)
    sums = []
    for half in range(2):
        place = builder.gep(codes, [ir.Constant(_I64, 32 * half)])
        block = builder.load(builder.bitcast(place, v32.as_pointer()), align=1)
        part = builder.call(fours, [builder.call(pairs, [block, query]), ones])
        sums.append(builder.add(total[half], part))
    return sums


@intrinsic
def score_block(
    typing: Any, codes: Any, norm: Any, block: Any, query: Any, scale: Any, out: Any, at: Any, limit: Any
) -> Any:
    """Score a block: out[at:at + 16] = norm - scale * dot; bit i of the result: out[at + i] < limit.

    codes: (blocks, 16 * width) uint8; norm: (16 * blocks,) float32; query: (width,) int8 with width a
    multiple of 8; out: float32 with room for 16 more.
    """
    signature = types.uint32(codes, norm, types.int64, query, types.float32, out, types.int64, types.float32)
    wide = _vector_instructions() == "avx512vnni"
    lanes, dot = (16, _dot_vnni) if wide else (8, _dot_avx2)

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        array = context.make_array(sig.args[0])(context, builder, args[0])
        row_bytes = cgutils.unpack_tuple(builder, array.shape, 2)[1]
        first = builder.gep(builder.bitcast(array.data, _I8.as_pointer()), [builder.mul(args[2], row_bytes)])
        fours = _pointer(context, builder, sig.args[3], args[3], _I32)
        zero = ir.Constant(ir.VectorType(_I32, lanes), [0] * lanes)
        # Two chains of sums, so that one instruction need not wait for the one before.
        sums = [[cgutils.alloca_once_value(builder, zero) for _ in range(16 // lanes)] for _ in range(2)]
        with cgutils.for_range(builder, builder.udiv(row_bytes, ir.Constant(_I64, 128))) as loop:
            for chain in range(2):
                step = builder.add(builder.mul(loop.index, ir.Constant(_I64, 2)), ir.Constant(_I64, chain))
                place = builder.gep(first, [builder.mul(step, ir.Constant(_I64, 64))])
                four = builder.load(builder.gep(fours, [step]))
                new = dot(builder, place, four, [builder.load(s) for s in sums[chain]])
                for variable, value in zip(sums[chain], new, strict=True):
                    builder.store(value, variable)
        norms = _pointer(context, builder, sig.args[1], args[1], _F32)
        norms = builder.gep(norms, [builder.mul(args[2], ir.Constant(_I64, BLOCK))])
        target = builder.gep(_pointer(context, builder, sig.args[5], args[5], _F32), [args[6]])
        vector = ir.VectorType(_F32, lanes)
        mask = ir.Constant(_I32, 0)
        for part in range(16 // lanes):
            total = builder.add(builder.load(sums[0][part]), builder.load(sums[1][part]))
            offset = [ir.Constant(_I64, lanes * part)]
            base = builder.load(builder.bitcast(builder.gep(norms, offset), vector.as_pointer()), align=4)
            product = builder.fmul(
                builder.sitofp(total, vector), _spread(builder, args[4], lanes), flags=_FAST
            )
            score = builder.fsub(base, product, flags=_FAST)
            builder.store(score, builder.bitcast(builder.gep(target, offset), vector.as_pointer()), align=4)
            below = builder.fcmp_ordered("<", score, _spread(builder, args[7], lanes))
            bits = builder.zext(builder.bitcast(below, ir.IntType(lanes)), _I32)
            mask = builder.or_(mask, builder.shl(bits, ir.Constant(_I32, lanes * part)))
        return mask

    return signature, codegen


@intrinsic
def load_pointer(typing: Any, address: Any) -> Any:
    """An integer address as a pointer, for ``numba.carray``."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return builder.inttoptr(args[0], _I8.as_pointer())

    return types.voidptr(types.int64), codegen


@intrinsic
def prefetch(typing: Any, array: Any, offset_bytes: Any) -> Any:
    """Ask for the cache line that lies ``offset_bytes`` into the array; never faults."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        start = _pointer(context, builder, sig.args[0], args[0], _I8)
        function = cgutils.get_or_insert_function(
            builder.module,
            ir.FunctionType(ir.VoidType(), [_I8.as_pointer(), _I32, _I32, _I32]),
            "llvm.prefetch.p0",
        )
        place = builder.gep(start, [args[1]])
        builder.call(function, [place] + [ir.Constant(_I32, v) for v in (0, 3, 1)])
        return context.get_dummy_value()

    return types.void(array, types.int64), codegen
