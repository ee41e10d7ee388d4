"""Attacks on booted machines: power cuts, damaged disks, bad updates. `make torture` carries them out."""
