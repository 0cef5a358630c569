"""Report and verdict to text, a module per format."""
