"""The one place where processor instructions are named: scoring a block of 16 codes against a query.

A block holds 16 points whose coordinates are 7-bit codes, laid out so that four dimensions of all 16 points
lie in 64 consecutive bytes. :func:`score_block` writes ``norm - scale * dot(code, query)`` of each point,
which orders points as their distance to the query does, and returns a bit mask of those below a limit.

The instructions follow from the processor that numba compiles for (``NUMBA_CPU_FEATURES`` counts): AVX-512
VNNI or AVX2 on x86-64, generic vector operations elsewhere. With ``RTSEARCH_SIMD=off`` the kernels are
compiled with :func:`kernels.plain_score_block` and its like, ordinary loops that give the same integers: to
compare with, and for processors that the others fail on.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import llvmlite.binding as llvm
from llvmlite import ir
from numba import config, types
from numba.core import cgutils
from numba.extending import intrinsic

from rtsearch._util.jit import FASTMATH

__all__ = [
    "BLOCK",
    "FRONT",
    "any_below",
    "box_block",
    "from_half",
    "instructions",
    "keep_below",
    "load_pointer",
    "prefetch",
    "score_block",
    "score_keep",
]

FRONT = 16  # dimensions that rule most points out; with 8 two to three times as many blocks are read on
BLOCK = 16  # points per block: one 512-bit register of scores

_F32, _I8, _I16, _I32, _I64 = ir.FloatType(), ir.IntType(8), ir.IntType(16), ir.IntType(32), ir.IntType(64)
_V16 = ir.VectorType(_F32, 16)
_FAST = tuple(sorted(FASTMATH))


def instructions() -> str:
    """Name what blocks are scored with: ``avx512vnni``, ``avx2``, ``any`` or, without vectors, ``plain``."""
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
    return "avx2" if "avx2" in features else "any"


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


def _dot_vnni(builder: Any, codes: Any, factors: Any, total: Any) -> Any:
    """total + dot of 16 x 4 codes and factors, both <64 x i8>: one instruction."""
    v16 = ir.VectorType(_I32, 16)
    function = _declare(builder, "llvm.x86.avx512.vpdpbusd.512", v16, [v16, v16, v16])
    return builder.call(function, [total, builder.bitcast(codes, v16), builder.bitcast(factors, v16)])


def _dot_avx2(builder: Any, codes: Any, factors: Any, total: Any) -> Any:
    """The same in halves; 7-bit codes cannot overflow the 16-bit sums (2 * 127 * 127)."""
    v32, v16, v8 = ir.VectorType(_I8, 32), ir.VectorType(_I16, 16), ir.VectorType(_I32, 8)
    pairs = _declare(builder, "llvm.x86.avx2.pmadd.ub.sw", v16, [v32, v32])
    fours = _declare(builder, "llvm.x86.avx2.pmadd.wd", v8, [v16, v16])
    halves = []
    for first in (0, 32):
        lanes = ir.Constant(ir.VectorType(_I32, 32), list(range(first, first + 32)))
        a, b = (builder.shuffle_vector(v, v, lanes) for v in (codes, factors))
        halves.append(builder.call(fours, [builder.call(pairs, [a, b]), ir.Constant(v16, [1] * 16)]))
    both = builder.shuffle_vector(*halves, ir.Constant(ir.VectorType(_I32, 16), list(range(16))))
    return builder.add(total, both)


def _dot_any(builder: Any, codes: Any, factors: Any, total: Any) -> Any:
    """The same in operations that every processor with vectors has, a quarter of the bytes at a time."""
    v16 = ir.VectorType(_I32, 16)
    a, b = builder.bitcast(codes, v16), builder.bitcast(factors, v16)

    def bits(count: int) -> Any:
        return ir.Constant(v16, [count] * 16)

    for byte in range(4):
        code = builder.and_(builder.lshr(a, bits(8 * byte)), bits(255))
        factor = builder.ashr(builder.shl(b, bits(24 - 8 * byte)), bits(24))
        total = builder.add(total, builder.mul(code, factor))
    return total


def _sum_dots(builder: Any, row_bytes: Any, operands: Callable[[Any], tuple[Any, Any]]) -> Any:
    """<16 x float>: sum over a block of the dots of operands(i), i counting 64 bytes."""
    dot = {"avx512vnni": _dot_vnni, "avx2": _dot_avx2, "any": _dot_any}[_vector_instructions()]
    zero = ir.Constant(ir.VectorType(_I32, 16), [0] * 16)
    # Two chains of sums, so that one instruction need not wait for the one before.
    sums = [cgutils.alloca_once_value(builder, zero) for _ in range(2)]
    with cgutils.for_range(builder, builder.udiv(row_bytes, ir.Constant(_I64, 128))) as loop:
        for chain in range(2):
            step = builder.add(builder.mul(loop.index, ir.Constant(_I64, 2)), ir.Constant(_I64, chain))
            builder.store(dot(builder, *operands(step), builder.load(sums[chain])), sums[chain])
    return builder.sitofp(builder.add(builder.load(sums[0]), builder.load(sums[1])), _V16)


def _load64(builder: Any, start: Any, step: Any) -> Any:
    """Bytes 64 step..64 step + 64 from ``start``."""
    place = builder.gep(start, [builder.mul(step, ir.Constant(_I64, 64))])
    return builder.load(builder.bitcast(place, ir.VectorType(_I8, 64).as_pointer()), align=1)


def _load_fours(builder: Any, start: Any, step: Any) -> Any:
    """Bytes 4 step..4 step + 4, sixteen times."""
    four = builder.load(builder.gep(builder.bitcast(start, _I32.as_pointer()), [step]))
    return builder.bitcast(_spread(builder, four, 16), ir.VectorType(_I8, 64))


def _row(context: Any, builder: Any, array_type: Any, value: Any, block: Any) -> tuple[Any, Any]:
    """Start of row ``block`` of a 2-D uint8 array, and the row's length in bytes."""
    array = context.make_array(array_type)(context, builder, value)
    row_bytes = cgutils.unpack_tuple(builder, array.shape, 2)[1]
    return builder.gep(
        builder.bitcast(array.data, _I8.as_pointer()), [builder.mul(block, row_bytes)]
    ), row_bytes


def _block_scores(context: Any, builder: Any, sig: Any, args: Any, width: int | None = None) -> Any:
    """Scores of block args[2], the arguments beginning (code, norm, block, query, scale).

    Of all dimensions, or of the first ``width``.
    """
    codes, row_bytes = _row(context, builder, sig.args[0], args[0], args[2])
    query = _pointer(context, builder, sig.args[3], args[3], _I8)
    dots = _sum_dots(
        builder,
        row_bytes if width is None else ir.Constant(_I64, BLOCK * width),
        lambda i: (_load64(builder, codes, i), _load_fours(builder, query, i)),
    )
    norms = _pointer(context, builder, sig.args[1], args[1], _F32)
    norms = builder.gep(norms, [builder.mul(args[2], ir.Constant(_I64, BLOCK))])
    product = builder.fmul(dots, _spread(builder, args[4], 16), flags=_FAST)
    return builder.fsub(_load16(builder, norms), product, flags=_FAST)


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
    typing: Any, code: Any, norm: Any, block: Any, query: Any, scale: Any, out: Any, at: Any
) -> Any:
    """Score a block: out[at:at + 16] = norm - scale * dot. Returns the least of them.

    code: (blocks, 16 * width) uint8; norm: (16 * blocks,) float32; query: (width,) int8 with width a
    multiple of 8; out: float32.
    """
    signature = types.float32(code, norm, types.int64, query, types.float32, out, types.int64)

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        scores = _block_scores(context, builder, sig, args)
        _store16(
            builder, scores, builder.gep(_pointer(context, builder, sig.args[5], args[5], _F32), [args[6]])
        )
        lanes = ir.VectorType(_I32, 16)
        for half in (8, 4, 2, 1):
            order = ir.Constant(lanes, [(lane + half) % 16 for lane in range(16)])
            turned = builder.shuffle_vector(scores, scores, order)
            scores = builder.select(builder.fcmp_ordered("<", turned, scores), turned, scores)
        return builder.extract_element(scores, ir.Constant(_I32, 0))

    return signature, codegen


@intrinsic
def any_below(typing: Any, code: Any, norm: Any, block: Any, query: Any, scale: Any, limit: Any) -> Any:
    """1 where a score of the block lies below the limit, else 0; of the first FRONT dimensions.

    Other arguments are those of :func:`score_block`.
    """
    signature = types.int64(code, norm, types.int64, query, types.float32, types.float32)

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        scores = _block_scores(context, builder, sig, args, FRONT)
        mask = builder.bitcast(
            builder.fcmp_ordered("<", scores, _spread(builder, args[5], 16)), ir.IntType(16)
        )
        return builder.zext(builder.icmp_unsigned("!=", mask, ir.Constant(mask.type, 0)), _I64)

    return signature, codegen


@intrinsic
def box_block(typing: Any, lower: Any, upper: Any, block: Any, query: Any, out: Any, at: Any) -> Any:
    """out[at:at + 16] = squared distance, in codes, of the query from the boxes of a block.

    lower, upper: (blocks, 16 * width) uint8; query: (width,) uint8. A dimension counts 127 at most.
    """
    signature = types.void(lower, upper, types.int64, query, out, types.int64)

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        lowers, row_bytes = _row(context, builder, sig.args[0], args[0], args[2])
        uppers, _ = _row(context, builder, sig.args[1], args[1], args[2])
        query = _pointer(context, builder, sig.args[3], args[3], _I8)
        v64 = ir.VectorType(_I8, 64)
        less = _declare(builder, "llvm.usub.sat.v64i8", v64, [v64, v64])
        least = _declare(builder, "llvm.umin.v64i8", v64, [v64, v64])

        def gaps(i: Any) -> tuple[Any, Any]:
            place = _load_fours(builder, query, i)
            below = builder.call(less, [_load64(builder, lowers, i), place])
            above = builder.call(less, [place, _load64(builder, uppers, i)])
            gap = builder.call(least, [builder.or_(below, above), ir.Constant(v64, [127] * 64)])
            return gap, gap

        squares = _sum_dots(builder, row_bytes, gaps)
        _store16(
            builder, squares, builder.gep(_pointer(context, builder, sig.args[4], args[4], _F32), [args[5]])
        )
        return context.get_dummy_value()

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
def from_half(typing: Any, bits: Any) -> Any:
    """The float32 of the bits of a float16, which is no infinity and no NaN.

    Not every processor has an instruction for it. A float32 has eight bits of exponent in place of five:
    with those of the float16 in their place it is 2**-112 of the number.
    """

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        wide = builder.zext(args[0], _I32)
        size = builder.shl(builder.and_(wide, ir.Constant(_I32, 0x7FFF)), ir.Constant(_I32, 13))
        size = builder.fmul(builder.bitcast(size, _F32), ir.Constant(_F32, 2.0**112))
        sign = builder.shl(builder.and_(wide, ir.Constant(_I32, 0x8000)), ir.Constant(_I32, 16))
        return builder.bitcast(builder.or_(builder.bitcast(size, _I32), sign), _F32)

    return types.float32(types.uint16), codegen


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
