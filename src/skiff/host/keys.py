"""SSH key files of this machine: the building user's, and the pair that a workspace has of its own."""

from __future__ import annotations

import contextlib
import os
import pwd
from pathlib import Path

from skiff.host.errors import UserError
from skiff.host.run import CommandError, run

_TYPES = ("ssh-", "ecdsa-sha2-", "sk-ssh-", "sk-ecdsa-")


def user_keys() -> list[tuple[Path, str]]:
    """The building user's public keys, as (file, line); behind sudo, those of the user who called it."""
    homes = [Path.home()]
    caller = os.environ.get("SUDO_USER")
    if caller:
        with contextlib.suppress(KeyError):
            homes.append(Path(pwd.getpwnam(caller).pw_dir))
    found = []
    for home in dict.fromkeys(homes):
        for file in sorted((home / ".ssh").glob("id_*.pub")):
            # A certificate says who may use a key, and is none.
            if not file.name.endswith("-cert.pub"):
                found.append((file, read_key(file)))
    return found


def read_key(file: Path) -> str:
    """The one line of a public key file. Raises UserError when it is none."""
    text = _text(
        file, "an SSH public key is wanted here; --ssh-key FILE names others instead of those remembered"
    ).strip()
    if "\n" in text or not text.startswith(_TYPES):
        raise UserError(
            f"{file}: not an SSH public key", hint="name the file that ends in .pub, made by ssh-keygen"
        )
    return text


def check_keys(file: Path) -> None:
    """Raise UserError unless a file as sshd reads it has a public key in each line: it goes to the device."""
    text = _text(file, "make it readable, or take it out of the layer", errors="replace")
    lines = [line for line in text.splitlines() if line and line[0] != "#"]
    # Before the key's type there may be options.
    if not lines or not all(any(word.startswith(_TYPES) for word in line.split()) for line in lines):
        raise UserError(
            f"{file}: not public keys, one a line", hint="copy the file that ends in .pub, made by ssh-keygen"
        )


def _text(file: Path, hint: str, errors: str = "strict") -> str:
    """What a file of keys holds. Raises UserError, with this hint, when it cannot be read."""
    try:
        return file.read_text(errors=errors)
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "not text"
        raise UserError(f"{file}: cannot be read: {why}", hint=hint) from error


def workspace_key(private: Path, comment: str) -> str:
    """The public line of the workspace's own key pair, which is made when it is not there."""
    public = private.with_name(private.name + ".pub")
    if not (private.exists() and public.exists()):
        private.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        private.unlink(missing_ok=True)
        run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", comment, "-f", private])
    return read_key(public)


_SIGNERS = "a private SSH key, or the .pub of one that the agent has"


def check_signer(key: Path) -> None:
    """Raise UserError when there is no such key to sign with."""
    if not key.is_file():
        raise UserError(f"{key}: no such file", hint=_SIGNERS)


def sign(file: Path, key: Path, namespace: str) -> Path:
    """Sign a file as ``ssh-keygen -Y sign`` does; returns the signature. Raises UserError if it cannot."""
    signature = file.with_name(file.name + ".sig")
    signature.unlink(missing_ok=True)
    try:
        run(["ssh-keygen", "-q", "-Y", "sign", "-f", key, "-n", namespace, file])
    except CommandError as error:
        said = error.output.strip().splitlines()
        raise UserError(
            f"{key}: cannot sign with it: {said[-1] if said else f'status {error.status}'}",
            hint=_SIGNERS,
        ) from error
    return signature
