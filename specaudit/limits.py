"""What one audit may take, whatever a file declares: every limit, in one place.

Memory and time are bounded by what a file holds. Where it could ask for more than that (a
deflated archive, a view that repeats its storage, a constant that a graph computes), the
limits below hold it. Those of memory are shares of what one audit may have, and grow and
shrink with it: ``--max-memory``, which `allow` sets. The others are far above what honest
files need, and fixed.

The algorithms' own sizes (rows of a block, points of a grid) are theirs and not here.
"""

from typing import Final

DEFAULT_MEMORY: Final = 4 << 30
RAISE: Final = "if you trust the file, raise --max-memory"
_LEAST_MEMORY: Final = 64 << 20
_memory: int | None = None


def allow(memory_bytes: int) -> None:
    """Set the memory that one audit may have; a process audits for one user."""
    global _memory
    _memory = max(memory_bytes, _LEAST_MEMORY)


def allowed() -> int | None:
    """Return the memory that was set, or None where nobody has."""
    return _memory


def scaled(limit: int) -> int:
    """Return a limit of the first kind as it is with the memory that was set."""
    return limit if _memory is None else limit * _memory // DEFAULT_MEMORY


# Of memory, at the default. What each bounds beyond the bytes of the file:

PICKLE_BYTES: Final = 256 << 20  # a pickle, which is read whole
PICKLE_OBJECTS: Final = 2_000_000  # objects, memo entries and marks of it, at 150 bytes each
JSON_BYTES: Final = 100_000_000  # a header or an index; the safetensors format's own limit
AUDIT_BYTES: Final = 64 << 20  # a saved audit
INFLATED_BYTES: Final = 64 << 20  # what an archive inflates to, besides `INFLATION`
CODE_BYTES: Final = 16 << 20  # TorchScript's code, searched for constants
SPARSE_ELEMENTS: Final = 1 << 24  # a sparse tensor that is made dense
FOLDED_BYTES: Final = 1 << 26  # one constant that a graph computes
FOLDED_CACHE_BYTES: Final = 1 << 26  # those that are kept at hand
FOLDED_KEPT: Final = 1 << 22  # elements of small ones that a model keeps
MAP_ENTRIES: Final = 1 << 23  # of a map's input and image, at 60 bytes each

# Of growth: how much more than the bytes of the file may come of them.

INFLATION: Final = 16  # times the archive's size; trained weights barely deflate
EXPANSION: Final = 64  # elements of a view for each byte of its storage,
FREE_EXPANSION: Final = 1 << 16  # or this many
VISITS: Final = 8  # paths to a container for each object of the pickle,
FREE_VISITS: Final = 20_000  # and this many
FOLDED_WORK: Final = 1 << 31  # elements a graph may have computed, besides 64 for each of its own

# Of counts and depths.

TENSOR_ELEMENTS: Final = 1 << 31
TENSOR_RANK: Final = 64  # NumPy's
STACKED_MATRICES: Final = 4096  # in one tensor; more than any mixture of experts has
PICKLE_OPCODES: Final = 10_000_000
PICKLE_MEMO: Final = 1 << 31  # the highest key
PICKLE_DEPTH: Final = 400  # containers in containers
INTEGER_BYTES: Final = 1024  # of a pickled integer; a longer one is slow to print
ARCHIVE_MEMBERS: Final = 200_000
PROTOBUF_FIELDS: Final = 10_000_000
PROTOBUF_DEPTH: Final = 128  # 32 nested subgraphs need 3 levels each
PROTOBUF_TEXT: Final = 1 << 20  # a name
PROTOBUF_SPANS: Final = 1 << 16  # parts in which one packed field may come
SUBGRAPH_DEPTH: Final = 32
CALL_DEPTH: Final = 32
SHARDS: Final = 10_000  # files of one set
GRAPH_NODES: Final = 1_000_000  # once functions are expanded, counted before any is
GRAPH_NAME: Final = 500  # characters of an expanded node's name
