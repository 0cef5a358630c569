"""Declared types: the user's input shapes bound to the file's symbols, and claims compared."""

from collections.abc import Iterable, Mapping
from dataclasses import replace

from specaudit.errors import UnreadableModel, UsageError
from specaudit.graphs.site import Dimension, Shape, Type
from specaudit.model import Graph, ValueInfo

Symbols = dict[str, int]
NAMELESS = {"", "*", "-1", "None", "none", "unknown"}  # what converters write for "any"
OWN = "?"  # begins the names that `named` gives; what a file begins with it says "any" as well


def symbols_of(graph: Graph, input_shapes: Mapping[str, tuple[int, ...]]) -> Symbols:
    """Numbers for the symbols of the inputs whose shapes the user gave.

    Raises
    ------
    UsageError
        No such input, another number of dimensions, or a dimension that is another number
        in the file or elsewhere in `input_shapes`.
    """
    inputs = {info.name: info for info in graph.inputs if info.name not in graph.constants}
    symbols: Symbols = {}
    for name, given in input_shapes.items():
        if not name:
            sizes = "x".join(map(str, given))
            raise UsageError(
                f"the input shape {sizes} does not say of which input it is",
                help=f"write NAME={sizes}, where NAME is one of: {', '.join(inputs)}",
            )
        if name not in inputs:
            raise UsageError(
                f"the graph has no input {name!r}", help=f"its inputs: {', '.join(inputs)}"
            )
        declared = bound(inputs[name].shape, {})
        if declared is None:
            continue
        if len(declared) != len(given):
            raise UsageError(
                f"the input {name!r} has {len(declared)} dimensions, {len(given)} were given",
                help=f"it is declared as {_shown(declared)}",
            )
        for dimension, number in zip(declared, given, strict=True):
            _bind(name, dimension, number, symbols)
    return symbols


def _bind(name: str, dimension: Dimension, number: int, symbols: Symbols) -> None:
    if number < 0:
        raise UsageError(f"a dimension of the input {name!r} is {number}", help="give its size")
    known = symbols.get(dimension, number) if isinstance(dimension, str) else dimension
    if known is not None and known != number:
        raise UsageError(
            f"the input {name!r} wants {dimension} = {known}, {number} was given",
            help=f"give {known} there; the graph was exported for it",
        )
    if isinstance(dimension, str):
        symbols[dimension] = number


def declared_types(infos: Iterable[ValueInfo], symbols: Mapping[str, int]) -> dict[str, Type]:
    """Types as the file declares them, with bound symbols replaced."""
    return {info.name: Type(info.dtype, bound(info.shape, symbols)) for info in infos}


def bound(shape: Shape, symbols: Mapping[str, int]) -> Shape:
    """A shape with the symbols replaced whose numbers are known."""
    if shape is None:
        return None
    return tuple(_dimension(item, symbols) for item in shape)


def _dimension(item: Dimension, symbols: Mapping[str, int]) -> Dimension:
    if not isinstance(item, str):
        return item
    return None if item in NAMELESS or item.startswith(OWN) else symbols.get(item, item)


def named(type_: Type, name: str) -> Type:
    """The type with a symbol for each dimension that nothing is known of: its own.

    What keeps the dimension then keeps the symbol, and two tensors can be seen to agree in it.
    """
    if type_.shape is None or None not in type_.shape:
        return type_
    shape = (f"{OWN}{name}[{k}]" if n is None else n for k, n in enumerate(type_.shape))
    return replace(type_, shape=tuple(shape))


def typed(info: ValueInfo, type_: Type) -> ValueInfo:
    """A declaration brought up to what is known."""
    return replace(info, dtype=type_.dtype, shape=nameless(type_.shape))


def nameless(shape: Shape) -> Shape:
    """The shape as others see it, without the symbols of our own."""
    return None if shape is None else tuple(None if _own(item) else item for item in shape)


def merged(inferred: Type, declared: Type, name: str, *, strict: bool) -> tuple[Type, bool]:
    """What is inferred, completed by what the file declares.

    A symbol that was inferred stands for any number, so a declared one does not replace it,
    unless it is one that `named` gave and what is declared is a number.

    Returns
    -------
    type : Type
    assumed : bool
        Whether a dimension is there on the file's word alone.

    Raises
    ------
    UnreadableModel
        Two numbers contradict (if `strict`; else what was inferred stands: in a branch that
        may never be taken, and where the user's own shapes replace what the file was traced
        with).
    """
    dtype = inferred.dtype or declared.dtype
    if declared.shape is None or inferred.shape is None:
        shape = inferred.shape if declared.shape is None else declared.shape
        assumed = inferred.shape is None and any(item is not None for item in shape or ())
        return Type(dtype, shape, inferred.element), assumed
    if contradict(inferred.shape, declared.shape):
        if strict:
            raise UnreadableModel(
                f"the value {name!r} is declared as {_shown(declared.shape)}, "
                f"but the graph makes it {_shown(inferred.shape)}",
                where=name,
            )
        return Type(dtype, inferred.shape), False
    pairs = list(zip(inferred.shape, declared.shape, strict=True))
    taken = [a is None or (_own(a) and isinstance(b, int)) for a, b in pairs]
    assumed = any(b is not None for (_, b), took in zip(pairs, taken, strict=True) if took)
    shape = tuple(b if took else a for (a, b), took in zip(pairs, taken, strict=True))
    return Type(dtype, shape), assumed


def _own(item: Dimension) -> bool:
    return isinstance(item, str) and item.startswith(OWN)


def contradict(inferred: tuple[Dimension, ...], declared: tuple[Dimension, ...]) -> bool:
    """Whether two shapes cannot be those of one value."""
    return len(inferred) != len(declared) or any(
        isinstance(mine, int) and isinstance(theirs, int) and mine != theirs
        for mine, theirs in zip(inferred, declared, strict=True)
    )


def _shown(shape: tuple[Dimension, ...]) -> str:
    return "x".join("?" if item is None else str(item) for item in shape) or "a scalar"
