"""Low-rank adapters: the pairs A, B whose product ``scale * B @ A`` is added to a weight.

Names as loralib (``X.lora_A``), PEFT (``X.lora_A.default.weight`` beside
``X.base_layer.weight``) and kohya (``X.lora_down.weight``) write them. The scale alpha/r is
seldom in the file. Where it is (``X.alpha``), the merged weight is measured; where it is not,
the base and the bare product are measured each, and the report says that the merged weight
is not covered.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from math import prod

from specaudit.extract.entries import Effective, Reals, Values, exact, frobenius, lost, plain
from specaudit.model import Weight

_PART = re.compile(
    r"^(.*?)[._]?lora[._](?:embedding_)?(A|B|down|up|magnitude_vector)"
    r"(?:\.((?!weight$)[^.]+))?(?:\.weight)?$"
)
_UNKNOWN_SCALE = "an adapter whose scale alpha/r is not in the file: the merged weight is unknown"


@dataclass(frozen=True, slots=True)
class Hole:
    """A tensor that is not examined as the network uses it, and why."""

    weight: Weight
    reason: str


def resolve(tensors: Mapping[str, Weight]) -> Iterator[Effective | Hole]:
    """Yield merged weights, and what is left open where they cannot be merged."""
    groups: dict[str, dict[tuple[str, str], Weight]] = {}
    for name, weight in tensors.items():
        if found := _PART.match(name):
            part = {"down": "A", "up": "B"}.get(found[2], found[2])
            groups.setdefault(found[1], {})[part, found[3] or ""] = weight
    for base, members in groups.items():
        yield from _adapted(base, members, tensors)


def _adapted(
    base: str, members: Mapping[tuple[str, str], Weight], tensors: Mapping[str, Weight]
) -> Iterator[Effective | Hole]:
    weight = tensors.get(f"{base}.base_layer.weight") or tensors.get(f"{base}.weight")
    adapters = {adapter for _, adapter in members}
    alpha = tensors.get(f"{base}.alpha") or tensors.get(f"{base}.lora_alpha")
    single = len(adapters) == 1 and {part for part, _ in members} == {"A", "B"}
    if not single:
        reason = "one of several adapters, or of an unknown kind: the merged weight is unknown"
        yield from (Hole(member, reason) for member in members.values())
        return
    adapter = adapters.pop()
    a, b = members["A", adapter], members["B", adapter]
    shape = _product_shape(a, b, weight)
    if shape is None:
        yield from (Hole(member, "an adapter that does not fit its base") for member in (a, b))
    elif weight is not None and alpha is not None and alpha.size == 1:
        yield _merged(base, weight, a, b, alpha)
    else:
        yield _bare(base, a, b, shape)
        yield Hole(b, _UNKNOWN_SCALE)


def _product_shape(a: Weight, b: Weight, weight: Weight | None) -> tuple[int, ...] | None:
    """Shape of B A where the two fit each other and the base, else None."""
    if len(a.shape) < 2 or len(a.shape) != len(b.shape) or a.shape[0] != b.shape[1]:
        return None
    if any(size != 1 for size in b.shape[2:]):
        return None
    shape = (b.shape[0], *a.shape[1:])
    if weight is None or shape == weight.shape or shape == weight.shape[::-1]:
        return shape
    return weight.shape if prod(shape) == weight.size else None


def _product(a: Weight, b: Weight) -> Reals:
    down, up = exact(a.read()), exact(b.read())
    flat: Reals = up.reshape(up.shape[0], -1) @ down.reshape(down.shape[0], -1)
    return flat.reshape(up.shape[0], *down.shape[1:])


def _merged(base: str, weight: Weight, a: Weight, b: Weight, alpha: Weight) -> Effective:
    def delta() -> Reals:
        scale = exact(alpha.read()).reshape(()) / a.shape[0]
        product = _product(a, b)
        if product.shape == weight.shape[::-1] and product.shape != weight.shape:
            product = product.T
        return scale * product.reshape(weight.shape)

    def read() -> Reals:
        return exact(weight.read()) + delta()

    def write(values: Values) -> Mapping[str, Values]:
        return {weight.name: exact(values) - delta()}

    def error() -> float:
        scale = abs(float(exact(alpha.read()).reshape(()))) / a.shape[0]
        return lost(0, frobenius(weight.read())) + 2.0 * scale * _product_error(a, b)

    name = weight.name.replace(".base_layer.", ".")
    note = f"merged from {weight.name} and its adapter, scaled by {alpha.name} / {a.shape[0]}"
    tensors = (weight, a, b, alpha)
    return Effective(name, weight.shape, weight.dtype, tensors, read, write, (note,), error=error)


def _product_error(a: Weight, b: Weight) -> float:
    return lost(a.shape[0], frobenius(a.read()), frobenius(b.read()))


def _bare(base: str, a: Weight, b: Weight, shape: tuple[int, ...]) -> Effective:
    note = f"the product of {b.name} and {a.name} alone, without the scale alpha/r"
    name = f"{base}.lora"
    return Effective(
        name, shape, b.dtype, (b, a), lambda: _product(a, b).reshape(shape), None, (note,),
        error=lambda: _product_error(a, b),
    )  # fmt: skip


def adapted(tensors: Iterable[str]) -> frozenset[str]:
    """Return the modules that have an adapter, by name."""
    return frozenset(match[1] for name in tensors if (match := _PART.match(name)))


def base_of(modules: frozenset[str], weight: Weight) -> Effective:
    """Return a base weight beside an adapter of unknown scale, named as the plain parameter.

    `modules` are those of `adapted`.
    """
    name = weight.name.replace(".base_layer.", ".")
    found = plain(weight)
    inside = any(name[:at] in modules for at in _dots(name, modules))
    note = ("the base weight, without its adapter",) if inside else ()
    return replace(found, name=name, notes=found.notes + note)


def _dots(name: str, modules: frozenset[str]) -> Iterator[int]:
    """Yield the places of dots in a name that one of the modules may end before."""
    return (at for at in {len(module) for module in modules} if name[at : at + 1] == ".")
