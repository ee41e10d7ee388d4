"""Layers as tests choose them."""

from __future__ import annotations


def complete(name: str) -> list[str]:
    """A layer and what it leaves to the user: those whose work is done in containers, by which engine."""
    return [name, "engine/docker"] if name.startswith(("apps/", "core/")) else [name]
