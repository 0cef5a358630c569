"""Graph and norms to NetworkBound, a module per family of operations."""
