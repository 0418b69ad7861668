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

__all__ = [
    "BLOCK",
    "instructions",
    "keep_below",
    "load_pointer",
    "prefetch",
    "score_block",
    "score_keep",
]

BLOCK = 16  # points per block: one 512-bit register of scores

_F32, _I8, _I16, _I32, _I64 = ir.FloatType(), ir.IntType(8), ir.IntType(16), ir.IntType(32), ir.IntType(64)
_V16 = ir.VectorType(_F32, 16)
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


def _load16(builder: Any, place: Any) -> Any:
    vector = ir.VectorType(place.type.pointee, 16)
    return builder.load(builder.bitcast(place, vector.as_pointer()), align=4)


def _store16(builder: Any, vector: Any, place: Any) -> None:
    builder.store(vector, builder.bitcast(place, vector.type.as_pointer()), align=4)


def _declare(builder: Any, name: str, result: Any, arguments: list[Any]) -> Any:
    return cgutils.get_or_insert_function(builder.module, ir.FunctionType(result, arguments), name)


def _dot_vnni(builder: Any, codes: Any, four: Any, sums: list[Any]) -> list[Any]:
    """sums + dot of 16 x 4 codes with 4 query bytes: one instruction."""
    v16 = ir.VectorType(_I32, 16)
    function = _declare(builder, "llvm.x86.avx512.vpdpbusd.512", v16, [v16, v16, v16])
    block = builder.load(builder.bitcast(codes, v16.as_pointer()), align=1)
    return [builder.call(function, [sums[0], block, _spread(builder, four, 16)])]


def _dot_avx2(builder: Any, codes: Any, four: Any, sums: list[Any]) -> list[Any]:
    """The same for two halves of 8 points; 7-bit codes cannot overflow the 16-bit sums (2 * 127 * 127)."""
    v32, v16, v8 = ir.VectorType(_I8, 32), ir.VectorType(_I16, 16), ir.VectorType(_I32, 8)
    pairs = _declare(builder, "llvm.x86.avx2.pmadd.ub.sw", v16, [v32, v32])
    fours = _declare(builder, "llvm.x86.avx2.pmadd.wd", v8, [v16, v16])
    query = builder.bitcast(_spread(builder, four, 8), v32)
    ones = ir.Constant(v16, [1] * 16)
    new = []
    for half in range(2):
        place = builder.gep(codes, [ir.Constant(_I64, 32 * half)])
        block = builder.load(builder.bitcast(place, v32.as_pointer()), align=1)
        part = builder.call(fours, [builder.call(pairs, [block, query]), ones])
        new.append(builder.add(sums[half], part))
    return new


def _scores(builder: Any, codes: Any, row_bytes: Any, norms: Any, fours: Any, scale: Any) -> Any:
    """<16 x float>: norm - scale * dot of one block; all arguments are pointers or scalars."""
    lanes, dot = (16, _dot_vnni) if _vector_instructions() == "avx512vnni" else (8, _dot_avx2)
    zero = ir.Constant(ir.VectorType(_I32, lanes), [0] * lanes)
    # Two chains of sums, so that one instruction need not wait for the one before.
    sums = [[cgutils.alloca_once_value(builder, zero) for _ in range(16 // lanes)] for _ in range(2)]
    with cgutils.for_range(builder, builder.udiv(row_bytes, ir.Constant(_I64, 128))) as loop:
        for chain in range(2):
            step = builder.add(builder.mul(loop.index, ir.Constant(_I64, 2)), ir.Constant(_I64, chain))
            place = builder.gep(codes, [builder.mul(step, ir.Constant(_I64, 64))])
            four = builder.load(builder.gep(fours, [step]))
            new = dot(builder, place, four, [builder.load(s) for s in sums[chain]])
            for variable, value in zip(sums[chain], new, strict=True):
                builder.store(value, variable)
    total = [builder.add(builder.load(a), builder.load(b)) for a, b in zip(*sums, strict=True)]
    if lanes == 16:
        dots = total[0]
    else:
        dots = builder.shuffle_vector(
            total[0], total[1], ir.Constant(ir.VectorType(_I32, 16), list(range(16)))
        )
    product = builder.fmul(builder.sitofp(dots, _V16), _spread(builder, scale, 16), flags=_FAST)
    return builder.fsub(_load16(builder, norms), product, flags=_FAST)


def _block_scores(context: Any, builder: Any, sig: Any, args: Any) -> Any:
    """Scores of block args[2], the arguments beginning (code, norm, block, query, scale)."""
    code = context.make_array(sig.args[0])(context, builder, args[0])
    row_bytes = cgutils.unpack_tuple(builder, code.shape, 2)[1]
    codes = builder.gep(builder.bitcast(code.data, _I8.as_pointer()), [builder.mul(args[2], row_bytes)])
    norms = _pointer(context, builder, sig.args[1], args[1], _F32)
    norms = builder.gep(norms, [builder.mul(args[2], ir.Constant(_I64, BLOCK))])
    fours = _pointer(context, builder, sig.args[3], args[3], _I32)
    return _scores(builder, codes, row_bytes, norms, fours, args[4])


def _append(builder: Any, mask: Any, kept: list[tuple[Any, Any, Any]], count: Any) -> Any:
    """Store the lanes of each vector whose mask bit is set at target[count:]; return the new count.

    kept: (vector, target pointer, name of the vector's type). 16 lanes are written, the last ones at random.
    """
    for vector, target, name in kept:
        kind = vector.type
        flags = ir.VectorType(ir.IntType(1), 16)
        function = _declare(builder, f"llvm.experimental.vector.compress.{name}", kind, [kind, flags, kind])
        packed = builder.call(function, [vector, mask, ir.Constant(kind, ir.Undefined)])
        _store16(builder, packed, builder.gep(target, [count]))
    i16 = ir.IntType(16)
    ones = builder.call(_declare(builder, "llvm.ctpop.i16", i16, [i16]), [builder.bitcast(mask, i16)])
    return builder.add(count, builder.zext(ones, _I64))


@intrinsic
def score_block(
    typing: Any, code: Any, norm: Any, block: Any, query: Any, scale: Any, out: Any, at: Any, limit: Any
) -> Any:
    """Score a block: out[at:at + 16] = norm - scale * dot. Returns a mask of 16 bits: out < limit.

    code: (blocks, 16 * width) uint8; norm: (16 * blocks,) float32; query: (width,) int8 with width a
    multiple of 8; out: float32.
    """
    signature = types.uint32(code, norm, types.int64, query, types.float32, out, types.int64, types.float32)

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        scores = _block_scores(context, builder, sig, args)
        _store16(
            builder, scores, builder.gep(_pointer(context, builder, sig.args[5], args[5], _F32), [args[6]])
        )
        mask = builder.fcmp_ordered("<", scores, _spread(builder, args[7], 16))
        return builder.zext(builder.bitcast(mask, ir.IntType(16)), _I32)

    return signature, codegen


@intrinsic
def score_keep(
    typing: Any,
    code: Any,
    norm: Any,
    block: Any,
    query: Any,
    scale: Any,
    limit: Any,
    point: Any,
    value: Any,
    item: Any,
    count: Any,
) -> Any:
    """Score a block and append the scores below the limit to value, and point + lane to item, from count on.

    Returns the new count. 16 entries are written in any case, so both need that much room to spare.
    """
    signature = types.int64(
        code,
        norm,
        types.int64,
        query,
        types.float32,
        types.float32,
        types.int32,
        value,
        item,
        types.int64,
    )

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        scores = _block_scores(context, builder, sig, args)
        mask = builder.fcmp_ordered("<", scores, _spread(builder, args[5], 16))
        lanes = ir.Constant(ir.VectorType(_I32, 16), list(range(16)))
        points = builder.add(_spread(builder, args[6], 16), lanes)
        values = _pointer(context, builder, sig.args[7], args[7], _F32)
        items = _pointer(context, builder, sig.args[8], args[8], _I32)
        return _append(builder, mask, [(scores, values, "v16f32"), (points, items, "v16i32")], args[9])

    return signature, codegen


@intrinsic
def keep_below(
    typing: Any, value: Any, item: Any, at: Any, limit: Any, to_value: Any, to_item: Any, count: Any
) -> Any:
    """Append those of value[at:at + 16] that lie below the limit, and their items; return the new count.

    As in :func:`score_keep`, 16 entries are written. The target may be the source: count never passes at.
    """
    signature = types.int64(value, item, types.int64, types.float32, to_value, to_item, types.int64)

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        places = [
            _pointer(context, builder, sig.args[i], args[i], kind)
            for i, kind in ((0, _F32), (1, _I32), (4, _F32), (5, _I32))
        ]
        values = _load16(builder, builder.gep(places[0], [args[2]]))
        items = _load16(builder, builder.gep(places[1], [args[2]]))
        mask = builder.fcmp_ordered("<", values, _spread(builder, args[3], 16))
        return _append(builder, mask, [(values, places[2], "v16f32"), (items, places[3], "v16i32")], args[6])

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
        function = _declare(builder, "llvm.prefetch.p0", ir.VoidType(), [_I8.as_pointer(), _I32, _I32, _I32])
        place = builder.gep(start, [args[1]])
        builder.call(function, [place] + [ir.Constant(_I32, v) for v in (0, 3, 1)])
        return context.get_dummy_value()

    return types.void(array, types.int64), codegen
