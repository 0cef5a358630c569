"""Graph and norms to NetworkBound, a module per family of operations."""

from specaudit.lipschitz.propagate import bound

__all__ = ["bound"]
