"""Brings containers, images and accounts to what config.yaml says."""
