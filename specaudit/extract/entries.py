"""The effective weight: what the network uses, computed from what the file stores."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from math import prod
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from numpy.typing import NDArray

from specaudit import limits
from specaudit.extract.skipping import skip
from specaudit.operators import Layer
from specaudit.report import Geometry, Kind, Skipped

if TYPE_CHECKING:
    from specaudit.model import Weight

Values: TypeAlias = NDArray[np.generic]
Reals: TypeAlias = NDArray[np.float64]
Read: TypeAlias = Callable[[], Values]
Write: TypeAlias = Callable[[Values], Mapping[str, Values]]
Entry: TypeAlias = Layer | Skipped


@dataclass(frozen=True, slots=True)
class Effective:
    """A weight as the network uses it, computed from one or several tensors.

    `shape` is that of what `read` returns, `dtype` the stored one. `tensors` are those it
    depends on, the deciding one first. `problem` says why it cannot be computed: it is then
    skipped, and not covered. `roundings` and `error` are those of a `Layer`.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    tensors: "tuple[Weight, ...]"
    read: Read
    write: Write | None = None
    notes: tuple[str, ...] = ()
    problem: str = ""
    roundings: int = 0
    error: Callable[[], float] | None = None

    def arranged(
        self,
        shape: tuple[int, ...],
        forth: Callable[[Values], Values],
        back: Callable[[Values], Values],
    ) -> "Effective":
        """Return the same weight in another layout, and the way back."""
        read, write = self.read, self.write

        def rewritten(values: Values) -> Mapping[str, Values]:
            return {} if write is None else write(back(values))

        return replace(self, shape=shape, read=lambda: forth(read()), write=write and rewritten)

    def reshaped(self, *shape: int) -> "Effective":
        """Return it with another shape of the same size, of which one number may be -1."""
        before = self.shape
        if -1 in shape:
            known = -prod(shape)
            shape = tuple(prod(before) // max(known, 1) if n == -1 else n for n in shape)
        return self.arranged(shape, lambda a: a.reshape(shape), lambda a: a.reshape(before))

    def transposed(self, *axes: int) -> "Effective":
        """Return it with its axes in another order, the reverse one by default."""
        order = axes or tuple(reversed(range(len(self.shape))))
        inverse = tuple(int(axis) for axis in np.argsort(order))
        shape = tuple(self.shape[axis] for axis in order)
        return self.arranged(shape, lambda a: a.transpose(order), lambda a: a.transpose(inverse))

    def times(self, factor: float, what: str) -> "Effective":
        """Return its multiple; `what` names the factor, which may be off by a rounding."""
        if factor == 1.0:
            return self
        changed = self.arranged(
            self.shape, lambda a: exact(a) * factor, lambda a: exact(a) / factor
        )
        inherited = self.error
        return replace(
            changed,
            write=changed.write if factor else None,
            notes=(*self.notes, f"times {what} = {factor:g}"),
            roundings=self.roundings + 3,
            error=inherited and (lambda: 2.0 * abs(factor) * inherited()),
        )

    def parts(self, names: "tuple[str, ...] | None" = None) -> Iterator["Effective"]:
        """Yield the entries of the first dimension as weights of their own.

        They are called after the whole with a suffix, ``.0``, ``.1`` unless `names` are
        given; a single one keeps the name.
        """
        count = self.shape[0]
        if count > limits.STACKED_MATRICES:
            yield replace(
                self,
                problem=f"a stack of {count} matrices, past the {limits.STACKED_MATRICES} read",
            )
            return
        for index in range(count):
            suffix = names[index] if names else str(index)
            name = self.name if count == 1 else f"{self.name}.{suffix}"
            yield replace(self._part(index), name=name)

    def _part(self, index: int) -> "Effective":
        whole = self.read

        def back(values: Values) -> Values:
            # The other parts keep their values: what writes several merges what changed.
            stored = np.array(whole(), dtype=np.result_type(values.dtype, np.float64))
            stored[index] = values
            return stored

        return self.arranged(self.shape[1:], lambda a: a[index], back)

    def entries(
        self, kind: Kind, geometry: Geometry | None = None, node: str | None = None
    ) -> Iterator[Entry]:
        """Yield the layer that it is, or what stands for it where there is a problem."""
        if self.problem:
            if not self.tensors:
                yield Skipped(self.name, self.shape, self.problem, covered=False)
            yield from (skip(tensor, self.problem, covered=False) for tensor in self.tensors)
            return
        yield Layer(
            name=self.name,
            kind=kind,
            shape=self.tensors[0].shape if self.tensors else self.shape,
            dtype=self.dtype,
            read=self.read,
            node=node,
            geometry=geometry,
            tensors=self.tensors,
            write=self.write,
            notes=tuple(dict.fromkeys(self.notes)),
            roundings=self.roundings,
            error=self.error,
        )


def plain(weight: "Weight") -> Effective:
    """Return a tensor that is used as it is stored."""

    def write(values: Values) -> Mapping[str, Values]:
        return {weight.name: values.reshape(weight.shape)}

    return Effective(
        weight.name, weight.shape, weight.dtype, (weight,), weight.read, write, weight.notes
    )


def unresolved(name: str, tensors: "tuple[Weight, ...]", problem: str) -> Effective:
    """Return a weight that cannot be computed from its tensors."""
    first = tensors[0]
    return Effective(name, first.shape, first.dtype, tensors, first.read, problem=problem)


def lost(roundings: int, *sizes: float) -> float:
    """Return what so many roundings of binary64 lose, at most, of a product of sizes."""
    return prod(sizes) * (roundings + 8) * 2.0**-53 * (1.0 + 2.0**-20)  # for its own roundings


def frobenius(values: Values) -> float:
    """Return the Frobenius norm of finite values; `lost` has room for its rounding."""
    reals = exact(values)
    peak = float(np.abs(reals).max(initial=0.0))  # squares of the tiny and the huge vanish
    return peak * float(np.linalg.norm(reals / peak)) if 0.0 < peak < np.inf else peak


def exact(values: Values) -> Reals:
    """Return values in float64, which every stored type but 64-bit integers fits exactly."""
    return values.astype(np.float64)
