"""A look at a running device as one who wants in: what docs/explanation/security.md promises, asked of it."""

from __future__ import annotations

import re

from skiff.host.run import run
from skiff.machine import ssh
from tests.vm.driver import Device

# What each of these prints is too much: nothing is right.
_NOTHING = {
    "files that anybody may write": "find / /run /mnt/persist/skiff -xdev -perm -0002 ! -perm -1000"
    " ! -type l ! -type p ! -type s ! -path '/mnt/persist/skiff/docker/*' ! -path '/run/docker/*'",
    "setuid programs": "find / -xdev -type f -perm /6000",
    "accounts with a password": "awk -F: '$2 !~ /^[!*]/' /etc/shadow",
    "accounts besides root that are root's equal": "awk -F: '$3 == 0 && $1 != \"root\"' /etc/passwd",
    "secrets that others may read": "find /run/skiff/ssh /root/.ssh /mnt/persist/skiff/ssh -type f -perm /077"
    " ! -name '*.pub'",
}
_SYSCTL = {
    "kernel.dmesg_restrict": "1",
    "kernel.kptr_restrict": "1",
    "kernel.panic": "10",
    "kernel.randomize_va_space": "2",
    "fs.protected_fifos": "1",
    "fs.protected_hardlinks": "1",
    "fs.protected_regular": "1",
    "fs.protected_symlinks": "1",
    "net.ipv4.conf.all.accept_redirects": "0",
    # Of IPv6 `all` tells nothing of the interfaces.
    "net.ipv6.conf.eth0.accept_redirects": "0",
    "net.ipv6.conf.default.accept_redirects": "0",
    "net.ipv6.conf.eth0.accept_ra": "2",
    "net.ipv4.tcp_syncookies": "1",
}
# Programs that listen to the network and need not be root; CapPrm of proc(5). Bit 25 is to set the clock.
_RIGHTS = {"rdate": 1 << 25, "mdnsd": 0}
# The time program is there while it waits for an answer: nobody has this address of QEMU's network.
_SILENT = "10.0.2.77"
# Broken, or too short: none of these is to be offered.
_WEAK = re.compile(r"cbc|3des|arcfour|md5|sha1$|group1-|ssh-dss|ssh-rsa$|none")


def weak_places(machine: Device) -> dict[str, str]:
    """What is not as it should be, by name; empty when all is."""
    found = {name: machine.succeed(command).strip() for name, command in _NOTHING.items()}
    for name, value in _SYSCTL.items():
        said = machine.succeed(f"sysctl -n {name}").strip()
        found[name] = "" if said == value else said
    machine.succeed(f"echo 'server {_SILENT}' >/etc/skiff/time/a.sources; sv restart time")
    for program, rights in _RIGHTS.items():
        user, has = machine.wait_until_succeeds(
            f"awk '$1 ~ /^(Uid|CapPrm):/ {{ print $2 }}' /proc/$(pidof {program})/status"
        ).split()
        found[program] = "" if user != "0" and int(has, 16) == rights else f"user {user}, rights {has}"
    found["weak algorithms of SSH"] = " ".join(name for name in _offered(machine) if _WEAK.search(name))
    return {name: text for name, text in found.items() if text}


def _offered(machine: Device) -> list[str]:
    """The algorithms that the server names, for keys, ciphers and checksums."""
    program, *words = ssh.argv(machine.target(), ["true"], batch=True)
    told = run([program, "-vv", *words], input=b"", timeout=60).stderr.decode()
    server = told.partition("peer server KEXINIT proposal")[2]
    lines = re.findall(r"debug2: (?:KEX algorithms|host key algorithms|ciphers \w+|MACs \w+): (\S+)", server)
    assert lines
    return [name for line in lines[:6] for name in line.split(",")]
