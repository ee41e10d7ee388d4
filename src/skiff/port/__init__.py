"""Rebuilding container images for another CPU: what to build, from what, and the building."""
