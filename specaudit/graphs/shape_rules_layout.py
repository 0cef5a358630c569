"""Shapes of operations that move elements about without computing with them."""

from collections import Counter
from collections.abc import Sequence
from math import prod

from specaudit.graphs.shape_rules_elementwise import broadcast
from specaudit.graphs.shapes import shape_rule
from specaudit.graphs.site import Dimension, Shape, Site, Type, axis_of, size, unknown


@shape_rule("Reshape")
def reshape(site: Site) -> Sequence[Type]:
    """The shape given, its 0 and -1 filled in from the input's."""
    shape = site.shape(0)
    target = site.integers("shape") if site.opset < 5 else site.ints(1)
    if target is None:
        length = site.shape(1)
        rank = length[0] if length and isinstance(length[0], int) else None
        return [Type(site.dtype(0), None if rank is None or rank > 64 else unknown(rank))]
    keep = not site.integer("allowzero", 0)
    filled: list[Dimension] = []
    for index, wanted in enumerate(target):
        if wanted == 0 and keep:
            if shape is not None and index >= len(shape):
                site.refuse(f"keeps dimension {index} of a tensor with {len(shape)}")
            filled.append(shape[index] if shape is not None else None)
        else:
            filled.append(wanted)
    return [Type(site.dtype(0), _rest_filled(shape, filled, site))]


def _rest_filled(shape: Shape, target: list[Dimension], site: Site) -> Shape:
    """Put in for -1 what is left; a symbol on both sides cancels."""
    if target.count(-1) > 1 or any(isinstance(item, int) and item < -1 for item in target):
        site.refuse("a target shape with several unknown or negative dimensions")
    rest = [item for item in target if item != -1]
    if shape is None or None in shape or None in rest:
        return tuple(None if item == -1 else item for item in target)
    open_symbols = Counter(item for item in shape if isinstance(item, str))
    open_symbols.subtract(item for item in rest if isinstance(item, str))
    left = list(open_symbols.elements())
    have = prod(item for item in shape if isinstance(item, int))
    want = prod(item for item in rest if isinstance(item, int))
    unmatched = any(number < 0 for number in open_symbols.values())
    if -1 not in target:
        if not left and not unmatched and have != want:
            site.refuse(f"{have} elements do not make {want}")
        return tuple(target)
    fill: Dimension = None
    if not unmatched and want and have % want == 0:
        fill = have // want if not left else left[0] if len(left) == 1 and have == want else None
    if not left and not unmatched and want and have % want:
        site.refuse(f"{have} elements do not divide into {want}")
    return tuple(fill if item == -1 else item for item in target)


@shape_rule("Flatten")
def flatten(site: Site) -> Sequence[Type]:
    """Two dimensions, split before `axis`."""
    shape, axis = site.shape(0), site.integer("axis", 1)
    if shape is None:
        return [Type(site.dtype(0), unknown(2))]
    if not -len(shape) <= axis <= len(shape):
        site.refuse(f"axis {axis} of a tensor with {len(shape)} dimensions")
    axis += len(shape) if axis < 0 else 0
    return [Type(site.dtype(0), (product(shape[:axis]), product(shape[axis:])))]


def product(shape: tuple[Dimension, ...]) -> Dimension:
    """Number of elements, also where it is a single symbol times ones."""
    if 0 in shape:
        return 0
    others = [item for item in shape if item != 1]
    return others[0] if len(others) == 1 else size(shape)


@shape_rule("Transpose")
def transpose(site: Site) -> Sequence[Type]:
    """Dimensions permuted."""
    shape, order = site.shape(0), site.integers("perm")
    if shape is None:
        return [Type(site.dtype(0), None if order is None else unknown(len(order)))]
    if order is None:
        return [Type(site.dtype(0), shape[::-1])]
    if sorted(order) != list(range(len(shape))):
        site.refuse(f"perm {order} of a tensor with {len(shape)} dimensions")
    return [Type(site.dtype(0), tuple(shape[axis] for axis in order))]


@shape_rule("Squeeze")
def squeeze(site: Site) -> Sequence[Type]:
    """Dimensions of one element taken out."""
    shape, axes = site.shape(0), axes_of(site, from_opset=13)
    given = site.node.attributes.get("axes") if site.opset < 13 else site.has(1)
    if shape is None or (given and axes is None):
        return [Type(site.dtype(0))]
    if axes is None:
        if any(not isinstance(item, int) for item in shape):
            return [Type(site.dtype(0))]
        return [Type(site.dtype(0), tuple(item for item in shape if item != 1))]
    gone = {axis_of(axis, len(shape), site) for axis in axes}
    for axis in gone:
        if isinstance(shape[axis], int) and shape[axis] != 1:
            site.refuse(f"dimension {axis} is {shape[axis]}, not 1")
    return [Type(site.dtype(0), tuple(d for i, d in enumerate(shape) if i not in gone))]


@shape_rule("Unsqueeze")
def unsqueeze(site: Site) -> Sequence[Type]:
    """Dimensions of one element put in."""
    shape, axes = site.shape(0), axes_of(site, from_opset=13)
    if shape is None or axes is None:
        return [Type(site.dtype(0))]
    rank = len(shape) + len(axes)
    new = {axis_of(axis, rank, site) for axis in axes}
    if len(new) < len(axes):
        site.refuse("an axis is put in twice")
    rest = iter(shape)
    return [Type(site.dtype(0), tuple(1 if i in new else next(rest) for i in range(rank)))]


def axes_of(site: Site, from_opset: int) -> tuple[int, ...] | None:
    """Axes, an attribute before `from_opset` and the second input since."""
    return site.integers("axes") if site.opset < from_opset else site.whole(1)


@shape_rule("Concat")
def concat(site: Site) -> Sequence[Type]:
    """Sizes along `axis` added, the others the same."""
    shapes = [site.shape(index) for index in range(len(site.node.inputs))]
    dtype = next((d for i in range(len(shapes)) if (d := site.dtype(i))), None)
    ranks = {len(shape) for shape in shapes if shape is not None}
    if len(ranks) > 1:
        site.refuse("operands of different rank")
    if not ranks:
        return [Type(dtype)]
    rank = ranks.pop()
    axis = axis_of(site.integer("axis", 1 if site.opset < 4 else 0), rank, site)
    out = list(unknown(rank))
    for position in range(rank):
        along = [None if shape is None else shape[position] for shape in shapes]
        out[position] = _added(along) if position == axis else _agreed(along, site)
    return [Type(dtype, tuple(out))]


def _added(along: list[Dimension]) -> Dimension:
    numbers = [item for item in along if isinstance(item, int)]
    if len(numbers) == len(along):
        return sum(numbers)
    return (
        next(item for item in along if not isinstance(item, int))
        if (sum(numbers) == 0 and len(numbers) == len(along) - 1)
        else None
    )


def _agreed(along: list[Dimension], site: Site) -> Dimension:
    numbers = {item for item in along if isinstance(item, int)}
    if len(numbers) > 1:
        site.refuse(f"dimensions {sorted(numbers)} should be equal")
    if numbers:
        return numbers.pop()
    return next((item for item in along if item is not None), None)


@shape_rule("Split")
def split(site: Site) -> Sequence[Type]:
    """Parts of the sizes given, or equal ones with a smaller last."""
    shape, parts = site.shape(0), len(site.node.outputs)
    if shape is None:
        return [Type(site.dtype(0))] * parts
    axis = axis_of(site.integer("axis", 0), len(shape), site)
    given = site.node.attributes.get("split") if site.opset < 13 else site.has(1)
    sizes: Sequence[Dimension] | None = site.integers("split") if site.opset < 13 else site.ints(1)
    whole = shape[axis]
    if sizes is None:
        sizes = unknown(parts)
        if not given and isinstance(whole, int):
            each = -(-whole // parts)
            sizes = [max(0, min(each, whole - each * i)) for i in range(parts)]
    elif (
        isinstance(whole, int) and (size(tuple(sizes)) is not None) and _added(list(sizes)) != whole
    ):
        site.refuse(f"parts {list(sizes)} of a dimension of {whole}")
    if len(sizes) != parts:
        site.refuse(f"{len(sizes)} sizes for {parts} parts")
    return [Type(site.dtype(0), (*shape[:axis], n, *shape[axis + 1 :])) for n in sizes]


@shape_rule("Slice")
def slice_(site: Site) -> Sequence[Type]:
    """Lengths of the slices."""
    shape = site.shape(0)
    if shape is None:
        return [Type(site.dtype(0))]
    if site.opset < 10:
        starts: Sequence[Dimension] | None = site.integers("starts")
        ends: Sequence[Dimension] | None = site.integers("ends")
        axes, steps, open_axes = site.integers("axes"), None, False
    else:
        starts, ends, axes, steps = site.ints(1), site.ints(2), site.whole(3), site.ints(4)
        open_axes = site.has(3) and axes is None
    if open_axes or (axes is None and starts is None and ends is None):
        return [Type(site.dtype(0), unknown(len(shape)))]
    axes = axes if axes is not None else tuple(range(len(starts or ends or ())))
    steps = steps or ((None,) if site.has(4) else (1,)) * len(axes)
    out = list(shape)
    cuts = zip(axes, starts or unknown(len(axes)), ends or unknown(len(axes)), steps, strict=False)
    for axis, start, end, step in cuts:
        at = axis_of(axis, len(shape), site)
        out[at] = _sliced(shape[at], start, end, step)
    return [Type(site.dtype(0), tuple(out))]


def _sliced(whole: Dimension, start: Dimension, end: Dimension, step: Dimension) -> Dimension:
    if not isinstance(start, int) or not isinstance(step, int) or step == 0:
        return None
    if isinstance(whole, int) and isinstance(end, int):
        return len(range(*slice(start, end, step).indices(whole)))
    everything = start == 0 and step == 1
    if everything and (end == whole or (isinstance(end, int) and end >= 2**31 - 1)):
        return whole  # a symbol, sliced from 0 to itself or to "the end"
    if everything and isinstance(whole, int) and isinstance(end, str):
        return None
    return None


@shape_rule("Gather")
def gather(site: Site) -> Sequence[Type]:
    """The index's shape in place of one axis."""
    shape, index = site.shape(0), site.shape(1)
    if shape is None or index is None:
        return [Type(site.dtype(0))]
    axis = axis_of(site.integer("axis", 0), len(shape), site)
    return [Type(site.dtype(0), (*shape[:axis], *index, *shape[axis + 1 :]))]


@shape_rule("GatherElements")
def gather_elements(site: Site) -> Sequence[Type]:
    """The index's shape."""
    return [Type(site.dtype(0), site.shape(1))]


@shape_rule("GatherND")
def gather_nd(site: Site) -> Sequence[Type]:
    """The index's shape, its last axis replaced by what it picks."""
    shape, index = site.shape(0), site.shape(1)
    if shape is None or index is None or not index or not isinstance(index[-1], int):
        return [Type(site.dtype(0))]
    depth = site.integer("batch_dims", 0) + index[-1]
    if depth > len(shape):
        site.refuse(f"indexes {depth} of {len(shape)} dimensions")
    return [Type(site.dtype(0), (*index[:-1], *shape[depth:]))]


@shape_rule("Expand")
def expand(site: Site) -> Sequence[Type]:
    """Broadcast with the shape given."""
    target: Shape = site.ints(1)
    length = site.shape(1)
    if target is None and length and isinstance(length[0], int) and length[0] <= 64:
        target = unknown(length[0])
    return [Type(site.dtype(0), broadcast(site.shape(0), target, site))]


@shape_rule("Tile")
def tile(site: Site) -> Sequence[Type]:
    """Each dimension as often as said."""
    shape, repeats = site.shape(0), site.ints(1)
    if shape is None or repeats is None:
        return [Type(site.dtype(0), None if shape is None else unknown(len(shape)))]
    if len(repeats) != len(shape):
        site.refuse(f"{len(repeats)} repeats for {len(shape)} dimensions")
    return [Type(site.dtype(0), tuple(map(_times, shape, repeats)))]


def _times(a: Dimension, b: Dimension) -> Dimension:
    if a == 1 or b == 1:
        return b if a == 1 else a
    return a * b if isinstance(a, int) and isinstance(b, int) else None
