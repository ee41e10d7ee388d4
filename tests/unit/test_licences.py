"""Licences in copyright files of every form that Debian's packages have."""

from __future__ import annotations

from pathlib import Path

import pytest

from skiff.builders.debian.licences import licences_in
from skiff.builders.debian.unpack import Index, Unpacked, licences
from skiff.model.packages import Package


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("Files: *\nLicense: GPL-2+ and MIT\n\nLicense: MIT\n Permission", {"GPL-2+ and MIT", "MIT"}),
        # The second paragraph leaves the name out.
        ("License: MPL-2.0\nLicense: ...\n", {"MPL-2.0"}),
        ("Copyright: somebody\n\nLicense:\n\n the text is in /usr/share/common-licenses/GPL-2.\n", {"GPL-2"}),
        ("`/usr/share/common-licenses/LGPL-2.1', /usr/share/common-licenses/", {"LGPL-2.1"}),
        ("Permission is hereby\n granted, free  of charge, to any person", {"MIT"}),
        ("the GNU Lesser General Public\nLicense, version 2.1 (or any later version)", {"LGPL-2.1"}),
        ("All rights reserved.", set()),
    ],
)
def test_every_form_of_copyright_file(text: str, names: set[str]) -> None:
    assert licences_in(text) == names


def test_a_package_may_have_the_copyright_file_of_another() -> None:
    def package(name: str, index: Index) -> Unpacked:
        return Unpacked(Package(name, "1", "amd64", "0" * 64, 1, "main", "p"), Path(), index)

    found = licences(
        [
            package("sftp-server", Index((), (), "client")),
            package("client", Index((), ("BSD",))),
            package("lost", Index((), (), "elsewhere")),
        ]
    )
    assert found == {"sftp-server": ("BSD",), "client": ("BSD",), "lost": ()}
