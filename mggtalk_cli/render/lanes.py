"""Eight float32 numbers as one value inside numba kernels: a 256-bit vector, guaranteed.

LLVM's automatic vectoriser gives up silently on the blending loop (10 times slower), so the
kernels say what they mean: `load`, `store`, `spread`, arithmetic, comparisons and `select` on the
type `lanes`, each one LLVM vector instruction. On machines with narrower registers LLVM splits it.
"""

from __future__ import annotations

import operator

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic, lower_builtin, models, register_model, type_callable

LANES = 8

_F32 = ir.FloatType()
_VECTOR = ir.VectorType(_F32, LANES)
_MASK = ir.VectorType(ir.IntType(1), LANES)
# A vector in memory is only known to be aligned like a float32.
_UNALIGNED = 4


class LanesType(types.Type):
    """Numba's type of eight float32 numbers."""

    def __init__(self) -> None:
        super().__init__(name="lanes8_float32")


class LanesMaskType(types.Type):
    """Numba's type of eight truth values."""

    def __init__(self) -> None:
        super().__init__(name="lanes8_mask")


lanes = LanesType()
lanes_mask = LanesMaskType()


@register_model(LanesType)
class _LanesModel(models.PrimitiveModel):
    def __init__(self, dmm, fe_type):  # type: ignore[no-untyped-def]
        super().__init__(dmm, fe_type, _VECTOR)


@register_model(LanesMaskType)
class _LanesMaskModel(models.PrimitiveModel):
    def __init__(self, dmm, fe_type):  # type: ignore[no-untyped-def]
        super().__init__(dmm, fe_type, _MASK)


def _splat(builder: ir.IRBuilder, scalar: ir.Value) -> ir.Value:
    """Return a vector with `scalar` in every lane."""
    first = builder.insert_element(
        ir.Constant(_VECTOR, ir.Undefined), scalar, ir.Constant(ir.IntType(32), 0)
    )
    zeros = ir.Constant(ir.VectorType(ir.IntType(32), LANES), [0] * LANES)
    return builder.shuffle_vector(first, ir.Constant(_VECTOR, ir.Undefined), zeros)


def _as_vector(builder: ir.IRBuilder, kind: types.Type, value: ir.Value) -> ir.Value:
    return value if isinstance(kind, LanesType) else _splat(builder, value)


def _operation(op, emit, result=lanes):  # type: ignore[no-untyped-def]
    """Teach numba `op` for lanes with lanes or with a float32 scalar on either side."""

    @type_callable(op)
    def _type(context):  # type: ignore[no-untyped-def]
        def typer(left, right):  # type: ignore[no-untyped-def]
            kinds = (left, right)
            if lanes in kinds and all(kind in (lanes, types.float32) for kind in kinds):
                return result
            return None

        return typer

    def _lower(context, builder, sig, args):  # type: ignore[no-untyped-def]
        return emit(
            builder, *(_as_vector(builder, k, v) for k, v in zip(sig.args, args, strict=True))
        )

    for pair in ((lanes, lanes), (lanes, types.float32), (types.float32, lanes)):
        lower_builtin(op, *pair)(_lower)


_operation(operator.add, lambda b, x, y: b.fadd(x, y, flags=("contract",)))
_operation(operator.sub, lambda b, x, y: b.fsub(x, y, flags=("contract",)))
_operation(operator.mul, lambda b, x, y: b.fmul(x, y, flags=("contract",)))
_operation(operator.truediv, lambda b, x, y: b.fdiv(x, y))
_operation(operator.lt, lambda b, x, y: b.fcmp_ordered("<", x, y), lanes_mask)
_operation(operator.gt, lambda b, x, y: b.fcmp_ordered(">", x, y), lanes_mask)
_operation(operator.ge, lambda b, x, y: b.fcmp_ordered(">=", x, y), lanes_mask)


def _row_pointer(context, builder, array_type, array, row):  # type: ignore[no-untyped-def]
    """Return the address, as a vector, of array[row, 0] of a C-ordered (rows, LANES) array."""
    data = context.make_array(array_type)(context, builder, array).data
    offset = builder.mul(row, ir.Constant(row.type, LANES))
    return builder.bitcast(builder.gep(data, [offset]), _VECTOR.as_pointer())


@intrinsic
def load(typing_context, array, row):  # type: ignore[no-untyped-def]
    """Return row `row` of a C-ordered float32 array (rows, LANES)."""

    def codegen(context, builder, sig, args):  # type: ignore[no-untyped-def]
        return builder.load(_row_pointer(context, builder, sig.args[0], *args), align=_UNALIGNED)

    return lanes(array, types.intp), codegen


@intrinsic
def store(typing_context, array, row, value):  # type: ignore[no-untyped-def]
    """Write `value` to row `row` of a C-ordered float32 array (rows, LANES)."""

    def codegen(context, builder, sig, args):  # type: ignore[no-untyped-def]
        pointer = _row_pointer(context, builder, sig.args[0], *args[:2])
        builder.store(args[2], pointer, align=_UNALIGNED)
        return context.get_dummy_value()

    return types.void(array, types.intp, lanes), codegen


@intrinsic
def spread(typing_context, value):  # type: ignore[no-untyped-def]
    """Return eight copies of a float32 scalar."""

    def codegen(context, builder, sig, args):  # type: ignore[no-untyped-def]
        return _splat(builder, args[0])

    return lanes(types.float32), codegen


@intrinsic
def indices(typing_context):  # type: ignore[no-untyped-def]
    """Return 0, 1, ... 7."""

    def codegen(context, builder, sig, args):  # type: ignore[no-untyped-def]
        return ir.Constant(_VECTOR, [float(lane) for lane in range(LANES)])

    return lanes(), codegen


@intrinsic
def select(typing_context, mask, yes, no):  # type: ignore[no-untyped-def]
    """Return `yes` where `mask` holds, `no` elsewhere."""

    def codegen(context, builder, sig, args):  # type: ignore[no-untyped-def]
        return builder.select(*args)

    return lanes(lanes_mask, lanes, lanes), codegen


@intrinsic
def least(typing_context, left, right):  # type: ignore[no-untyped-def]
    """Return the smaller of two lanes values, lane by lane."""

    def codegen(context, builder, sig, args):  # type: ignore[no-untyped-def]
        return builder.select(builder.fcmp_ordered("<", *args), *args)

    return lanes(lanes, lanes), codegen


@intrinsic
def greatest(typing_context, left, right):  # type: ignore[no-untyped-def]
    """Return the larger of two lanes values, lane by lane."""

    def codegen(context, builder, sig, args):  # type: ignore[no-untyped-def]
        return builder.select(builder.fcmp_ordered(">", *args), *args)

    return lanes(lanes, lanes), codegen


@intrinsic
def minus_magnitude(typing_context, value):  # type: ignore[no-untyped-def]
    """Return -|value|."""

    def codegen(context, builder, sig, args):  # type: ignore[no-untyped-def]
        integer = ir.VectorType(ir.IntType(32), LANES)
        sign = ir.Constant(integer, [1 << 31] * LANES)
        return builder.bitcast(builder.or_(builder.bitcast(args[0], integer), sign), _VECTOR)

    return lanes(lanes), codegen


@intrinsic
def any_positive(typing_context, value):  # type: ignore[no-untyped-def]
    """Return whether a lane of `value` is above zero."""

    def codegen(context, builder, sig, args):  # type: ignore[no-untyped-def]
        mask = builder.fcmp_ordered(">", args[0], ir.Constant(_VECTOR, [0.0] * LANES))
        bits = builder.bitcast(mask, ir.IntType(LANES))
        return cgutils.is_not_null(builder, bits)

    return types.boolean(lanes), codegen


def _folded(builder: ir.IRBuilder, left: ir.Value, right: ir.Value) -> ir.Value:
    """Return sums of neighbours: those of `left`, then those of `right`."""
    evens, odds = range(0, 2 * LANES, 2), range(1, 2 * LANES, 2)
    parts = (
        builder.shuffle_vector(
            left, right, ir.Constant(ir.VectorType(ir.IntType(32), LANES), list(which))
        )
        for which in (evens, odds)
    )
    return builder.fadd(*parts)


@intrinsic
def total(typing_context, value):  # type: ignore[no-untyped-def]
    """Return the sum of the eight numbers."""

    def codegen(context, builder, sig, args):  # type: ignore[no-untyped-def]
        folded = args[0]
        for _ in range(3):
            folded = _folded(builder, folded, folded)
        return builder.extract_element(folded, ir.Constant(ir.IntType(32), 0))

    return types.float32(lanes), codegen


@intrinsic
def totals(typing_context, a, b, c, d, e, f, g, h):  # type: ignore[no-untyped-def]
    """Return the sums of eight values: lane k is the sum of value k, added as `total` does."""

    def codegen(context, builder, sig, args):  # type: ignore[no-untyped-def]
        row = list(args)
        while len(row) > 1:
            pairs = zip(row[::2], row[1::2], strict=True)
            row = [_folded(builder, left, right) for left, right in pairs]
        return row[0]

    return lanes(*[lanes] * LANES), codegen


@intrinsic
def store_at(typing_context, array, place, value):  # type: ignore[no-untyped-def]
    """Write `value` to array[place: place + 8] of a contiguous one-dimensional float32 array."""

    def codegen(context, builder, sig, args):  # type: ignore[no-untyped-def]
        data = context.make_array(sig.args[0])(context, builder, args[0]).data
        pointer = builder.bitcast(builder.gep(data, [args[1]]), _VECTOR.as_pointer())
        builder.store(args[2], pointer, align=_UNALIGNED)
        return context.get_dummy_value()

    return types.void(array, types.intp, lanes), codegen


@intrinsic
def prefetch(typing_context, array, row):  # type: ignore[no-untyped-def]
    """Ask the memory for row `row` of a C-ordered 2D array, which is needed a little later."""

    def codegen(context, builder, sig, args):  # type: ignore[no-untyped-def]
        held = context.make_array(sig.args[0])(context, builder, args[0])
        stride = cgutils.unpack_tuple(builder, held.strides)[0]
        byte = builder.bitcast(held.data, ir.IntType(8).as_pointer())
        address = builder.gep(byte, [builder.mul(args[1], stride)])
        # to read, to be kept in all cache levels, data
        flags = [ir.Constant(ir.IntType(32), flag) for flag in (0, 3, 1)]
        kinds = [address.type, *(flag.type for flag in flags)]
        declared = builder.module.declare_intrinsic(
            "llvm.prefetch", [address.type], ir.FunctionType(ir.VoidType(), kinds)
        )
        builder.call(declared, [address, *flags])
        return context.get_dummy_value()

    return types.void(array, types.intp), codegen
