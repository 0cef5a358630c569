"""File to Model, a module per format."""
