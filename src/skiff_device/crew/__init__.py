"""Crew: apps that are pushed with git, built, checked, switched to and kept running."""
