"""Dockerfiles: text to instructions and back."""

from skiff.port.dockerfile.model import Dockerfile, DockerfileError, Instruction
from skiff.port.dockerfile.read import decode, parse, parse_trigger
from skiff.port.dockerfile.render import render

__all__ = ["Dockerfile", "DockerfileError", "Instruction", "decode", "parse", "parse_trigger", "render"]
