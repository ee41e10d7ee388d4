"""A user environment for tests and figures: the device's own busybox as an image, and who logs in to it."""

from __future__ import annotations

from tests.vm.driver import Device

CONFIG = "/mnt/persist/skiff/core/config.yaml"

# A small environment of the device's own busybox: no registry is asked.
BOX = """
set -e
folder=$(mktemp -d)
mkdir -p "$folder/usr/bin" "$folder/etc" "$folder/root" "$folder/home/core" "$folder/tmp"
cp /usr/bin/busybox "$folder/usr/bin/busybox"
busybox --install -s "$folder/usr/bin"
ln -s usr/bin "$folder/bin"
echo root:x:0:0::/root:/bin/sh >"$folder/etc/passwd"
echo core:x:1000:1000::/home/core:/bin/sh >>"$folder/etc/passwd"
echo root:x:0: >"$folder/etc/group"
chmod 1777 "$folder/tmp"
chown 1000:1000 "$folder/home/core"
tar -C "$folder" -cf - . | docker import - box >/dev/null
rm -r "$folder"
"""

ONE = """
containers:
  core:
    image: box
    cmd: [sleep, infinity]
    env: [COLOUR=blue]
    restartPolicy: always
    startAfterCreate: true
    mounts: ["core-home:/home"]
users:
  core:
    container: core
    containerUser: core
    auth: {copyRootKeys: true}
"""


def configure(machine: Device, text: str = ONE) -> None:
    """Write the configuration as a user would, in one step, and wait until the service has seen to it."""
    machine.succeed(
        f"cat >{CONFIG}.mine && mv {CONFIG}.mine {CONFIG} && skiff-core apply",
        input=text.encode(),
        timeout=180,
    )


def enter(machine: Device, *words: str, user: str = "core", options: tuple[str, ...] = ()) -> list[str]:
    """Command line of a plain ssh that shares no connection: for terminals, forwarding, other programs."""
    target = machine.target(user)
    settings = (
        "StrictHostKeyChecking=no",
        "UserKnownHostsFile=/dev/null",
        "IdentitiesOnly=yes",
        "LogLevel=ERROR",
    )
    return [
        *("ssh", "-F", "none", "-o", "BatchMode=yes", "-p", str(target.port), "-l", user),
        *(word for setting in settings for word in ("-o", setting)),
        *("-i", str(target.keys[0]), *options, target.host, *words),
    ]
