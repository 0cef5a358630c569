"""The table of cases. Nothing here needs more than NumPy."""

import zlib
from dataclasses import dataclass, replace
from itertools import product

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Case:
    """A convolution on inputs of one size, in ONNX's terms.

    Parameters
    ----------
    kernel : tuple of int
        Spatial sizes; one to three.
    strides, dilations : tuple of int
    pads : tuple of int
        All the begins, then all the ends.
    group, out, channels : int
        Output and input channels *of one group*.
    input : tuple of int or None
        Spatial sizes of the layer's input; None for "any size".
    transposed : bool
    output_padding : tuple of int or None
        Of a transposed convolution.
    mode : {"constant", "reflect", "edge", "wrap"}
        What fills the pads; other than zeros, it is a ``Pad`` node in front.
    filling : {"random", "ones", "corner", "sparse", "rank1"}
        What the kernel holds: small multiples of 1/8, so that float32 holds every entry
        of the map exactly.
    """

    kernel: tuple[int, ...]
    strides: tuple[int, ...]
    dilations: tuple[int, ...]
    pads: tuple[int, ...]
    input: tuple[int, ...] | None
    group: int = 1
    out: int = 2
    channels: int = 2
    transposed: bool = False
    output_padding: tuple[int, ...] | None = None
    mode: str = "constant"
    filling: str = "random"

    @property
    def name(self) -> str:
        """What pytest calls the case."""
        words = [
            f"{len(self.kernel)}d",
            "k" + "x".join(map(str, self.kernel)),
            "s" + "x".join(map(str, self.strides)),
            "d" + "x".join(map(str, self.dilations)),
            "p" + ".".join(map(str, self.pads)),
            f"g{self.group}.{self.out}.{self.channels}",
            "n" + "x".join(map(str, self.input or ("any",))),
            self.mode,
            self.filling,
        ]
        if self.transposed:
            extra = ".".join(map(str, self.output_padding or ("0",)))
            words.append(f"transposed{extra}")
        return "-".join(words)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the kernel in ONNX's layout."""
        sides = (self.channels, self.out) if self.transposed else (self.out, self.channels)
        return (self.group * sides[0], sides[1], *self.kernel)

    def values(self) -> NDArray[np.float64]:
        """Return the kernel, the same one every time."""
        rng = np.random.default_rng(zlib.crc32(self.name.encode()))
        if self.filling == "ones":
            return np.ones(self.shape)
        if self.filling == "corner":
            kernel = np.zeros(self.shape)
            kernel[(slice(None), slice(None), *(0 for _ in self.kernel))] = 1.0
            return kernel
        if self.filling == "rank1":
            factors = [rng.integers(-4, 5, size) / 2.0 for size in self.kernel]
            spatial = np.ones(())
            for factor in factors:
                spatial = np.multiply.outer(spatial, factor)
            return (
                rng.integers(-2, 3, self.shape[:2]).reshape(*self.shape[:2], *(1,) * spatial.ndim)
                * spatial
                + 0.0
            )
        kernel = rng.integers(-16, 17, self.shape) / 8.0
        return kernel * (rng.random(self.shape) < 0.3) if self.filling == "sparse" else kernel


def _lines() -> list[Case]:
    """One dimension: every combination of what an axis can do."""
    return [
        Case((k,), (s,), (d,), p, (n,), filling=f)
        for (k, s, d), (p, n), f in product(
            [
                (1, 1, 1),
                (2, 1, 1),
                (3, 1, 1),
                (3, 1, 2),
                (3, 2, 1),
                (3, 2, 2),
                (3, 2, 3),
                (4, 3, 1),
                (5, 1, 1),
                (5, 2, 3),
                (7, 2, 1),
                (2, 2, 1),
                (2, 3, 1),
            ],
            [((0, 0), 16), ((1, 1), 15), ((2, 0), 14)],
            ["random", "ones"],
        )
    ]


def _planes() -> list[Case]:
    """Two dimensions: kernels that are met in networks, and lopsided ones."""
    shapes = [
        ((3, 3), (1, 1), (1, 1), (1, 1, 1, 1), (7, 8)),
        ((3, 3), (1, 1), (2, 2), (2, 2, 2, 2), (7, 6)),
        ((3, 3), (2, 2), (1, 1), (1, 1, 1, 1), (8, 7)),
        ((3, 3), (2, 2), (1, 1), (0, 0, 1, 1), (8, 8)),
        ((7, 7), (2, 2), (1, 1), (3, 3, 3, 3), (9, 8)),
        ((5, 5), (1, 1), (1, 1), (2, 2, 2, 2), (7, 7)),
        ((1, 1), (1, 1), (1, 1), (0, 0, 0, 0), (5, 5)),
        ((1, 1), (2, 2), (1, 1), (0, 0, 0, 0), (5, 6)),
        ((2, 2), (2, 2), (1, 1), (0, 0, 0, 0), (6, 6)),
        ((2, 2), (2, 2), (2, 2), (0, 0, 0, 0), (8, 8)),
        ((1, 7), (1, 1), (1, 1), (0, 3, 0, 3), (4, 9)),
        ((3, 2), (2, 3), (1, 2), (0, 1, 2, 0), (9, 7)),
        ((4, 4), (2, 2), (1, 1), (1, 1, 1, 1), (8, 8)),
        ((3, 3), (1, 2), (3, 1), (3, 0, 1, 1), (7, 7)),
        ((3, 3), (4, 4), (1, 1), (1, 1, 1, 1), (9, 9)),
    ]
    return [
        Case(*shape, group=g, out=o, channels=i, filling=f)
        for shape, (g, o, i), f in product(
            shapes, [(1, 2, 3), (3, 1, 1), (2, 3, 1)], ["random", "rank1"]
        )
    ]


def _solids() -> list[Case]:
    """Three dimensions."""
    shapes = [
        ((2, 2, 2), (1, 1, 1), (1, 1, 1), (0,) * 6, (4, 4, 4)),
        ((3, 3, 3), (1, 1, 1), (1, 1, 1), (1,) * 6, (4, 3, 5)),
        ((2, 2, 2), (2, 2, 2), (1, 1, 1), (0,) * 6, (4, 4, 4)),
        ((3, 2, 1), (1, 2, 1), (1, 1, 1), (1, 0, 0, 0, 1, 0), (4, 5, 3)),
        ((3, 3, 3), (2, 2, 2), (1, 1, 1), (1,) * 6, (5, 4, 4)),
        ((2, 2, 2), (1, 1, 1), (2, 1, 2), (0, 1, 0, 1, 0, 1), (4, 3, 4)),
    ]
    return [
        Case(*shape, group=g, filling=f)
        for shape, g, f in product(shapes, [1, 2], ["random", "ones"])
    ]


def _transposed() -> list[Case]:
    """Transposed convolutions, with cropping and output padding."""
    rows = [
        ((3,), (1,), (1,), (0, 0), (12,), (0,)),
        ((3,), (2,), (1,), (1, 1), (9,), (1,)),
        ((4,), (2,), (1,), (1, 1), (8,), (0,)),
        ((3,), (2,), (2,), (2, 0), (8,), (1,)),
        ((2,), (3,), (1,), (0, 0), (6,), (2,)),
        ((2, 2), (2, 2), (1, 1), (0, 0, 0, 0), (4, 4), (0, 0)),
        ((4, 4), (2, 2), (1, 1), (1, 1, 1, 1), (4, 5), (0, 0)),
        ((3, 3), (2, 2), (1, 1), (1, 1, 1, 1), (4, 4), (1, 1)),
        ((3, 2), (1, 3), (2, 1), (1, 0, 1, 0), (5, 3), (0, 2)),
        ((2, 2, 2), (2, 2, 2), (1, 1, 1), (0,) * 6, (2, 2, 3), (0, 0, 0)),
        ((3, 3, 3), (2, 1, 2), (1, 1, 1), (1,) * 6, (3, 3, 2), (1, 0, 1)),
    ]
    return [
        Case(
            k, s, d, p, n, group=g, out=3, channels=2, transposed=True, output_padding=e, filling=f
        )
        for (k, s, d, p, n, e), g, f in product(rows, [1, 2], ["random", "ones"])
    ]


def _padded() -> list[Case]:
    """Padding that repeats the input, at sizes where its two ends meet as well."""
    rows = [
        ((3,), (1,), (1,), (1, 1), (9,)),
        ((3,), (1,), (1,), (1, 1), (3,)),
        ((3,), (2,), (1,), (1, 1), (8,)),
        ((4,), (2,), (1,), (1, 2), (5,)),
        ((1,), (1,), (1,), (1, 1), (4,)),
        ((3, 3), (1, 1), (1, 1), (1, 1, 1, 1), (6, 5)),
        ((3, 3), (2, 2), (1, 1), (1, 1, 1, 1), (6, 6)),
        ((3, 3), (1, 1), (2, 2), (2, 2, 2, 2), (5, 6)),
        ((2, 3), (1, 2), (1, 1), (0, 2, 1, 0), (5, 6)),
        ((1, 1), (1, 1), (1, 1), (1, 1, 1, 1), (4, 4)),
        ((3, 3, 3), (1, 1, 1), (1, 1, 1), (1,) * 6, (3, 4, 3)),
    ]
    return [
        Case(*row, mode=m, filling=f)
        for row, m, f in product(rows, ["reflect", "edge", "wrap"], ["random", "corner"])
    ]


def _odd() -> list[Case]:
    """What breaks formulas: windows that never fit, sizes of one, taps that never meet."""
    return [
        Case((5,), (1,), (1,), (4, 4), (1,)),
        Case((3,), (2,), (1,), (2, 2), (1,), filling="ones"),
        Case((3, 3), (1, 1), (1, 1), (2, 2, 2, 2), (1, 1)),
        Case((3, 3), (1, 1), (1, 1), (1, 1, 1, 1), (1, 6)),
        Case((2,), (1,), (9,), (4, 4), (6,)),
        Case((4,), (2,), (1,), (1, 1), (5,), mode="wrap", filling="sparse"),
        Case((4,), (2,), (1,), (0, 3), (5,), mode="wrap", out=1, channels=1, filling="sparse"),
        Case((3,), (1,), (1,), (1, 1), (2,), mode="reflect"),
        Case((3,), (1,), (1,), (2, 2), (1,), mode="edge"),
        Case((16,), (4,), (1,), (6, 6), (40,), out=3, channels=1),
    ]


CASES: tuple[Case, ...] = (
    *_lines(),
    *_planes(),
    *_solids(),
    *_transposed(),
    *_padded(),
    *_odd(),
)


def without_size(case: Case) -> Case:
    """Return the case for inputs of every size."""
    return replace(case, input=None)
