"""What the verbs of kernels are made of: an emitter of LLVM instructions, or verbs that were there before.

Numba compiles loops that call verbs. A verb itself costs it no compilation: an emitter writes instructions, and a
traced verb is a function that Python runs once, on values that are not known yet; what it does to them becomes code.
"""

# mypy: disable-error-code="import-untyped,no-untyped-call,misc,unused-ignore"
from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import numba
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.typing.templates import ConcreteTemplate, infer_global, signature
from numba.extending import lower_builtin, models, register_model

I8, I16, I32, I64, HALF, FLOAT = (
    ir.IntType(8), ir.IntType(16), ir.IntType(32), ir.IntType(64), ir.HalfType(), ir.FloatType(),
)  # fmt: skip


class Lanes(types.Type):
    """A vector as a Numba type; `IR` says which."""


VF, VI, W = Lanes("f32x16"), Lanes("i32x16"), Lanes("i8x32")
P, F, D = types.int64, types.float32, types.float64  # an address or integer, and floats
IR = {VF: ir.VectorType(FLOAT, 16), VI: ir.VectorType(I32, 16), W: ir.VectorType(I8, 32), P: I64, F: FLOAT,
      D: ir.DoubleType()}  # fmt: skip
ARITHMETIC: dict[Any, dict[Any, str]] = {
    operator.add: {VF: "fadd", W: "add", P: "add", F: "fadd"},
    operator.sub: {VF: "fsub", VI: "sub", W: "sub", P: "sub", F: "fsub"},
    operator.mul: {VF: "fmul", P: "mul", F: "fmul"},
    operator.truediv: {VF: "fdiv", F: "fdiv"},
    operator.or_: {VI: "or_", W: "or_", P: "or_"},
    operator.and_: {VI: "and_", P: "and_"},
    operator.rshift: {VI: "ashr", P: "ashr"},
    operator.lshift: {VI: "shl", P: "shl"},
    operator.xor: {P: "xor"},
    operator.floordiv: {P: "sdiv"},  # of what is not negative, like the next
    operator.mod: {P: "srem"},
}
# For parts of kernels. Numba compiles each by itself and again in its kernel, so verbs are better where they will do.
BARE: dict[str, Any] = {"no_cpython_wrapper": True, "no_cfunc_wrapper": True}
njit = numba.njit(error_model="numpy", **BARE)
_BUILDERS: list[Any] = []  # of the traced verbs that are being run; Numba compiles one function at a time


@register_model(Lanes)
class LanesModel(models.PrimitiveModel):
    def __init__(self, manager: Any, fe_type: Any) -> None:
        super().__init__(manager, fe_type, IR[fe_type])


def builder() -> Any:
    """Where the traced verb that is being run writes."""
    return _BUILDERS[-1]


def _operator(symbol: Any) -> Callable[..., Value]:
    def made(self: Value, other: Any) -> Value:
        emit = getattr(builder(), ARITHMETIC[symbol][self.kind])
        return Value(self.kind, emit(self.code, given(other, self.kind)))

    return made


class Value:
    """A value while a verb is traced: its Numba type, and what LLVM knows it as."""

    def __init__(self, kind: Any, code: Any) -> None:
        self.kind, self.code = kind, code

    __add__, __sub__, __mul__ = _operator(operator.add), _operator(operator.sub), _operator(operator.mul)
    __truediv__, __floordiv__, __mod__ = map(_operator, (operator.truediv, operator.floordiv, operator.mod))
    __and__, __or__, __xor__ = map(_operator, (operator.and_, operator.or_, operator.xor))
    __lshift__, __rshift__ = _operator(operator.lshift), _operator(operator.rshift)


def given(value: Any, kind: Any) -> Any:
    """A value of this kind, or a constant, as LLVM knows it: a number, for all lanes, or a list of one for each."""
    if isinstance(value, Value):
        if value.kind != kind:
            raise TypeError(f"a verb was given {value.kind}, expected {kind}")
        return value.code
    if not isinstance(kind, Lanes):
        return ir.Constant(IR[kind], value if kind is P else float(value))
    element, count = IR[kind].element, IR[kind].count
    numbers = value if isinstance(value, list) else [value] * count
    return ir.Constant(IR[kind], [ir.Constant(element, x) for x in numbers])


class Verb:
    """What kernels call, and traced verbs. `emit`: (builder, *values) → value; none where `result` is void."""

    def __init__(self, emit: Callable[..., Any], result: Any, kinds: tuple[Any, ...]) -> None:
        self.__name__, self.__doc__ = emit.__name__, emit.__doc__
        self.emit, self.result, self.kinds = emit, result, kinds
        template = type(self.__name__, (ConcreteTemplate,), {"key": self, "cases": [signature(result, *kinds)]})
        infer_global(self, types.Function(template))
        lower_builtin(self, *kinds)(self._lower)

    def _lower(self, context: Any, b: Any, _: Any, values: Any) -> Any:
        made = self.emit(b, *values)
        return context.get_dummy_value() if self.result is types.void else made

    def __call__(self, *values: Any) -> Any:
        made = self.emit(builder(), *(given(x, kind) for x, kind in zip(values, self.kinds, strict=True)))
        return None if self.result is types.void else Value(self.result, made)


def verb(result: Any, *kinds: Any) -> Callable[[Callable[..., Any]], Verb]:
    """Makes an emitter a verb."""
    return lambda emit: Verb(emit, result, kinds)


def traced(result: Any, *kinds: Any) -> Callable[[Callable[..., Any]], Verb]:
    """Makes a function of values a verb. Python's own `for` and `if` in it are gone when the code is made."""

    def make(function: Callable[..., Any]) -> Verb:
        def emit(b: Any, *values: Any) -> Any:
            _BUILDERS.append(b)
            try:
                made = function(*(Value(kind, x) for kind, x in zip(kinds, values)))
                return None if result is types.void else given(made, result)
            finally:
                _BUILDERS.pop()

        emit.__name__, emit.__doc__ = function.__name__, function.__doc__
        return Verb(emit, result, kinds)

    return make


def repeat(count: Value | int, step: Callable[..., Any], *state: Value) -> list[Value]:
    """A loop in a traced verb: state = step(i, *state) for i = 0 … count - 1. The state stays in registers."""
    b = builder()
    places = [cgutils.alloca_once_value(b, x.code) for x in state]
    with cgutils.for_range(b, given(count, P), intp=I64) as loop:
        now = [Value(x.kind, b.load(place)) for x, place in zip(state, places)]
        for x, place, new in zip(state, places, step(Value(P, loop.index), *now) or (), strict=True):
            b.store(given(new, x.kind), place)
    return [Value(x.kind, b.load(place)) for x, place in zip(state, places)]


def _arithmetic(symbol: Any, names: dict[Any, str]) -> None:
    kinds = [kind for kind in names if isinstance(kind, Lanes)]
    cases = [signature(kind, kind, kind) for kind in kinds]
    infer_global(symbol)(type(symbol.__name__, (ConcreteTemplate,), {"key": symbol, "cases": cases}))

    def lower(context: Any, b: Any, sig: Any, values: Any) -> Any:
        return getattr(b, names[sig.return_type])(*values)

    lower_builtin(symbol, Lanes, Lanes)(lower)


for _symbol, _names in ARITHMETIC.items():
    if any(isinstance(kind, Lanes) for kind in _names):
        _arithmetic(_symbol, _names)
