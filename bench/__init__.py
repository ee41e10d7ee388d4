"""Measures the figures that the project promises: `python -m bench`, or `make bench`."""
