"""Weights that a checkpoint holds only in parts: weight norm and spectral norm, old and new.

The hooks of ``torch.nn.utils.weight_norm`` and ``spectral_norm`` store ``weight_g``,
``weight_v`` and ``weight_orig``, ``weight_u``, ``weight_v`` beside the module; the newer
parametrisations store ``parametrizations.weight.original…`` inside it. The effective weight
is what the module's ``weight`` is in eval mode, computed here in float64.
"""

import re
from collections.abc import Iterator, Mapping
from math import inf, prod

import numpy as np

from specaudit.extract.entries import (
    Effective,
    Reals,
    Values,
    exact,
    frobenius,
    lost,
    plain,
    unresolved,
)
from specaudit.extract.naming import class_name, is_transposed, parts
from specaudit.extract.quantised import ratio
from specaudit.model import Weight

Group = Mapping[str, Weight]
Attributes = Mapping[str, Mapping[str, object]]

_NEW = re.compile(r"^((?:.*\.)?)parametrizations\.([^.]+)\.(.+)$")
_UNKNOWN = "an unknown parametrisation: the weight that the layer applies is not in the file"
_SAME = 1e-9  # relative; a scaled weight differs from an exact multiple by some roundings


def resolve(tensors: Group, attributes: Attributes) -> Iterator[Effective]:
    """Yield the effective weights of all parametrised tensors.

    Parameters
    ----------
    tensors : mapping
        By name, all of a model that may be weights.
    attributes : mapping
        Of the modules, where the file says them.
    """
    groups: dict[str, dict[str, Weight]] = {}
    for name, weight in tensors.items():
        if found := _NEW.match(name):
            groups.setdefault(found[1] + found[2], {})[found[3]] = weight
    for name, members in groups.items():
        yield _new_style(name, members, attributes)
    for name, weight in tensors.items():
        if name.endswith("_g") and (v := tensors.get(f"{name[:-2]}_v")) and _normed(weight, v):
            yield _weight_norm(name[:-2], weight, v)
        if name.endswith("_orig"):
            yield from _old_spectral_norm(name[:-5], weight, tensors, attributes)


def _new_style(name: str, members: Group, attributes: Attributes) -> Effective:
    prefix, _, leaf = name.rpartition(".")
    at = f"{prefix}.parametrizations.{leaf}".lstrip(".")
    classes = {class_name(attributes.get(f"{at}.{index}", {})) for index in range(2)} - {""}
    if members.keys() == {"original0", "original1"}:
        g, v = members["original0"], members["original1"]
        if _normed(g, v) and classes <= {"_WeightNorm"}:
            return _weight_norm(name, g, v)
    if members.keys() == {"original", "0._u", "0._v"} and classes <= {"_SpectralNorm"}:
        found = _spectral_norm(
            name, members["original"], members["0._u"], members["0._v"], attributes
        )
        if found is not None:
            return found
    return unresolved(name, tuple(members.values()), _UNKNOWN)


def _old_spectral_norm(
    name: str, weight: Weight, tensors: Group, attributes: Attributes
) -> Iterator[Effective]:
    u, v = tensors.get(f"{name}_u"), tensors.get(f"{name}_v")
    if u is None:  # torch's pruning: weight_orig and weight_mask
        mask = tensors.get(f"{name}_mask")
        if mask is not None and mask.shape == weight.shape:
            yield _pruned(name, weight, mask)
    elif v is None:
        reason = "spectral norm of before torch 1.1: weight_v is not in the file"
        yield unresolved(name, (weight, u), reason)
    else:
        found = _spectral_norm(name, weight, u, v, attributes)
        yield found or unresolved(name, (weight, u, v), _UNKNOWN)


def _normed(g: Weight, v: Weight) -> bool:
    """Whether g can be the norms of v along some dimensions."""
    if not v.shape:
        return False
    return not g.shape or (
        len(g.shape) == len(v.shape)
        and all(ours in (1, theirs) for ours, theirs in zip(g.shape, v.shape, strict=True))
    )


def _weight_norm(name: str, g: Weight, v: Weight) -> Effective:
    # Along a dimension of size 1 the norm is the same whether it is kept or summed over.
    axes = tuple(axis for axis in range(len(v.shape)) if not g.shape or g.shape[axis] == 1)
    kept = tuple(1 if axis in axes else size for axis, size in enumerate(v.shape))

    def peaks(values: Reals) -> Reals:
        # What to divide by first: squares of the tiny and the huge leave binary64.
        largest = np.abs(values).max(axis=axes, keepdims=True, initial=0.0)
        return np.asarray(np.where(largest > 0, largest, 1.0))

    def norms(values: Reals) -> Reals:
        return np.asarray(np.sqrt(np.sum(values**2, axis=axes, keepdims=True)))

    def read() -> Reals:
        direction = exact(v.read())
        direction /= peaks(direction)
        with np.errstate(invalid="ignore", divide="ignore"):  # torch gives NaN for a zero row too
            return direction * (exact(g.read()).reshape(kept) / norms(direction))

    def write(values: Values) -> Mapping[str, Values]:
        wanted, stored = exact(values), read()
        square = np.sum(stored * stored, axis=axes, keepdims=True)
        along = np.sum(wanted * stored, axis=axes, keepdims=True)
        factor = along / np.where(square > 0, square, 1.0)
        if np.abs(wanted - factor * stored).max(initial=0.0) <= _SAME * np.abs(wanted).max():
            return {g.name: (exact(g.read()).reshape(kept) * factor).reshape(g.shape)}
        largest = peaks(wanted)
        return {v.name: wanted, g.name: (largest * norms(wanted / largest)).reshape(g.shape)}

    note = f"weight norm resolved from {g.name} and {v.name}"
    # Two quotients and a product around the root of a sum of as many squares as axes hold.
    roundings = prod(v.shape[axis] for axis in axes) + 12
    return Effective(name, v.shape, v.dtype, (v, g), read, write, (note,), roundings=roundings)


def _spectral_norm(
    name: str, weight: Weight, u: Weight, v: Weight, attributes: Attributes
) -> Effective | None:
    """Return ``W / (u' W v)``: torch divides by its stored estimate, and so does this.

    Scaling W scales the estimate as well, and the layer applies the same weight as before;
    so a multiple is written by u, of whatever length torch takes it in eval mode.
    """
    fitting = [
        axis
        for axis, size in enumerate(weight.shape[:2])
        if u.shape == (size,) and v.shape == (weight.size // max(size, 1),)
    ]
    if not fitting:
        return None
    owner = name.rpartition(".")[0]
    by_class = "ConvTranspose" in class_name(attributes.get(owner, {}))
    if len(fitting) == 2 and (by_class or is_transposed(parts(name)[0])):
        fitting = [1]
    elif len(weight.shape) == 2:
        fitting = fitting[:1]  # of a linear layer, torch unfolds nothing

    def estimate(values: Reals) -> tuple[float, float]:
        left, right = exact(u.read()), exact(v.read())
        # v is W'u normalised, so that of two axes which fit the true one gives the larger.
        unfolded = [np.moveaxis(values, axis, 0).reshape(left.size, -1) for axis in fitting]
        found = [(float(left @ matrix @ right), matrix) for matrix in unfolded]
        found.sort(key=lambda pair: -abs(pair[0]))
        sigma, matrix = found[0]
        moduli = float(np.abs(left) @ np.abs(matrix) @ np.abs(right))
        is_clear = all(2.0 * abs(other) < abs(sigma) for other, _ in found[1:])
        return sigma, lost(left.size + right.size, moduli) if is_clear else inf

    def read() -> Reals:
        values = exact(weight.read())
        with np.errstate(invalid="ignore", divide="ignore"):
            return values / np.float64(estimate(values)[0])

    def error() -> float:
        """The estimate is a sum that can cancel, and with it the weight is off as a whole."""
        values = exact(weight.read())
        sigma, loss = estimate(values)
        return 2.0 * frobenius(read()) * loss / abs(sigma) if 2.0 * loss < abs(sigma) else inf

    def write(values: Values) -> Mapping[str, Values]:
        return {u.name: exact(u.read()) / ratio(values, read())}

    notes: tuple[str, ...] = (
        f"spectral norm resolved from {weight.name} by the stored estimate of its norm",
        f"scaled by {u.name}, in eval mode: in training mode torch makes the norm 1 again",
    )
    if len(fitting) == 2:
        notes += ("along the axis whose estimate is more than twice the other's, as both fit",)
    tensors = (weight, u, v)
    return Effective(
        name, weight.shape, weight.dtype, tensors, read, write, notes, roundings=1, error=error
    )


def _pruned(name: str, weight: Weight, mask: Weight) -> Effective:
    def read() -> Reals:
        return exact(weight.read()) * exact(mask.read())

    note = f"pruned: {weight.name} times {mask.name}"
    tensors = (weight, mask)
    write = plain(weight).write
    return Effective(name, weight.shape, weight.dtype, tensors, read, write, (note,), roundings=1)
