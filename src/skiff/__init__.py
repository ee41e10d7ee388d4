"""Skiff: composes layers into one small system image, and runs it."""

__version__ = "0.1.0"
