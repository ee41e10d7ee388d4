"""From names of layers to a Recipe: find the folders, load layer.toml, order, merge."""

from skiff.layers.find import Search, available, is_path, override_folders, search_path
from skiff.layers.load import Layer, load, load_all
from skiff.layers.merge import FIELDS
from skiff.layers.resolve import resolve
from skiff.layers.skiffos import checkout_recipe

__all__ = [
    "FIELDS",
    "Layer",
    "Search",
    "available",
    "checkout_recipe",
    "is_path",
    "load",
    "load_all",
    "override_folders",
    "resolve",
    "search_path",
]
