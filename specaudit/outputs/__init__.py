"""Outputs: a report and its verdict as text, a module per format."""
