"""Whether the kernel hands programs of another CPU to an emulator, and what is registered."""

from __future__ import annotations

from pathlib import Path

import pytest

from skiff.host.errors import UserError
from skiff.host.ui import Ui
from skiff.model.arch import Arch
from skiff.port import emulate

ENTRY = "enabled\ninterpreter /usr/libexec/qemu-binfmt/aarch64-binfmt-P\nflags: POF\noffset 0\n"
CONF = r":qemu-aarch64:M::\x7f\x45\x4c\x46:\xff\xff:/usr/libexec/qemu-binfmt/aarch64-binfmt-P:"


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        (ENTRY, True),
        (ENTRY.replace("enabled", "disabled"), False),
        # Opened only when a program runs: not to be found from within a container.
        (ENTRY.replace("POF", "PO"), False),
        (None, False),
    ],
)
def test_an_emulator_counts_when_containers_can_use_it(
    tmp_path: Path, entry: str | None, expected: bool
) -> None:
    if entry is not None:
        (tmp_path / "qemu-aarch64").write_text(entry)
    assert emulate.runs(Arch.AMD64, Arch.ARM64, tmp_path) is expected


def test_a_cpu_runs_its_own_and_older_programs(tmp_path: Path) -> None:
    assert emulate.runs(Arch.AMD64, Arch.AMD64, tmp_path)
    assert emulate.runs(Arch.AMD64, Arch.I386, tmp_path)
    assert not emulate.runs(Arch.I386, Arch.AMD64, tmp_path)


def test_a_rule_gets_the_flag_that_containers_need() -> None:
    assert emulate.rule(f"# comment\n{CONF}OP\n") == f"{CONF}OPF"
    assert emulate.rule(f"{CONF}OPF") == f"{CONF}OPF"
    with pytest.raises(ValueError, match="no rule"):
        emulate.rule("# nothing")


def test_it_is_registered_anew_where_it_was_of_no_use(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    register, known = tmp_path / "binfmt_misc", tmp_path / "binfmt.d"
    register.mkdir()
    known.mkdir()
    (register / "register").touch()
    (register / "qemu-aarch64").write_text(ENTRY.replace("POF", "PO"))
    (known / "qemu-aarch64.conf").write_text(f"{CONF}OP\n")
    monkeypatch.setattr(emulate, "REGISTER", register)
    monkeypatch.setattr(emulate, "KNOWN", known)
    monkeypatch.setattr("os.geteuid", lambda: 0)
    # The kernel is not there to make the entry.
    with pytest.raises(UserError, match="arm64 was registered, and the kernel does not use it"):
        emulate.set_up([Arch.ARM64], Ui(quiet=True))
    assert (register / "qemu-aarch64").read_text() == "-1"
    assert (register / "register").read_text() == f"{CONF}OPF"


def test_without_consent_the_remedy_is_told() -> None:
    error = emulate.refusal([Arch.ARM64, Arch.S390X])
    assert "arm64, s390x" in error.message
    assert "--setup-emulation" in error.hint and "--on root@device" in error.hint
