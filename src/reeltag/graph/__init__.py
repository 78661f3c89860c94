"""The credits graph."""
