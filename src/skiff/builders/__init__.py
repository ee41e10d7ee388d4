"""Builders turn a recipe into a tree and a kernel."""
