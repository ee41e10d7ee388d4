"""Names of licences in the copyright file of a Debian package: what `skiff sbom` lists."""

from __future__ import annotations

import re

# In the machine-readable form (https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/).
_FIELD = re.compile(r"^License:[ \t]*(\w.*)$", re.MULTILINE)
# In the free form, licences that many packages have are not repeated but pointed at (Debian Policy 12.5).
_COMMON = re.compile(r"/usr/share/common-licenses/([A-Z][A-Za-z0-9.+-]*\w)")
_GNU = re.compile(r"GNU (Lesser |Library )?General Public License, version (\d(?:\.\d)?)")
# Others stand there in full; these are the first words of theirs that are the same everywhere.
_TEXTS = {
    "MIT": "Permission is hereby granted, free of charge",
    "BSD": "Redistribution and use in source and binary forms",
}


def licences_in(copyright: str) -> set[str]:
    """Every licence that a copyright file names; empty when it is written in words unknown here."""
    named = {found.strip() for found in _FIELD.findall(copyright)}
    if named:
        return named
    words = " ".join(copyright.split())
    return {
        *_COMMON.findall(copyright),
        *(f"{'LGPL' if lesser else 'GPL'}-{version}" for lesser, version in _GNU.findall(words)),
        *(name for name, text in _TEXTS.items() if text in words),
    }
