"""The commands of crew, one module a family."""
