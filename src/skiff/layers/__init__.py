"""From names of layers to a Recipe: find the folders, load layer.toml, order, merge."""

from skiff.layers.find import Search, available, is_path, override_folders, search_path
from skiff.layers.load import Layer, load
from skiff.layers.merge import FIELDS
from skiff.layers.resolve import resolve

__all__ = [
    "FIELDS",
    "Layer",
    "Search",
    "available",
    "is_path",
    "load",
    "override_folders",
    "resolve",
    "search_path",
]
