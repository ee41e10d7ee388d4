"""What layers add up to for a kernel from source: enough for containers, one for a family of boards."""

from __future__ import annotations

from pathlib import Path

import pytest

from skiff.builders.linux.configure import job_of
from skiff.host.errors import UserError
from skiff.layers import Search, resolve
from skiff.model.arch import Arch

SEARCH = Search(builtin=Path(__file__).resolve().parents[2] / "layers")

# "Generally Necessary" in moby's contrib/check-config.sh (00148c88), for Linux 6.12 and cgroup v2, and what
# it lists as optional and our images use: user namespaces, filters of system calls, limits, ext4.
NECESSARY = """
NAMESPACES NET_NS PID_NS IPC_NS UTS_NS CGROUPS CGROUP_SCHED CGROUP_BPF KEYS VETH BRIDGE BRIDGE_NETFILTER
NF_NAT POSIX_MQUEUE USER_NS SECCOMP SECCOMP_FILTER MEMCG CGROUP_PIDS BLK_CGROUP BLK_DEV_THROTTLING
CFS_BANDWIDTH FAIR_GROUP_SCHED OVERLAY_FS EXT4_FS EXT4_FS_POSIX_ACL EXT4_FS_SECURITY EXT4_USE_FOR_EXT2
"""
# What it asks for besides is iptables' old tables (IP_NF_*, IP6_NF_*). Debian's iptables and netavark write
# nf_tables instead: docker's by way of xtables' matches and targets, podman's with nothing else.
TABLES = "NF_TABLES NF_TABLES_INET NF_TABLES_IPV4 NF_TABLES_IPV6 NFT_CT NFT_NAT NFT_MASQ"
ENGINES = {
    "engine/docker": """
        NFT_COMPAT NETFILTER_XT_MARK NETFILTER_XT_NAT NETFILTER_XT_TARGET_MASQUERADE
        NETFILTER_XT_MATCH_ADDRTYPE NETFILTER_XT_MATCH_CONNTRACK
    """,
    "engine/podman": "NFT_FIB_INET NFT_REJECT_INET",
}
# Built into Debian's kernel, so that no layer lists it as a module: only a board itself would miss it.
AMLOGIC = """
SERIAL_MESON_CONSOLE PINCTRL_MESON_GXBB PINCTRL_MESON_G12A COMMON_CLK_GXBB COMMON_CLK_G12A RESET_MESON
MESON_SM MESON_IRQ_GPIO MESON_EE_PM_DOMAINS PWRSEQ_EMMC PHY_MESON_G12A_USB2 PHY_MESON_G12A_USB3_PCIE
AMLOGIC_THERMAL RTC_DRV_PCF8563
"""
# Boards that one kernel is for.
FAMILIES = {
    ("odroid/xu", "odroid/u"): Arch.ARMHF,
    ("odroid/c2", "odroid/c4", "odroid/hc4", "odroid/n2", "odroid/n2l"): Arch.ARM64,
}
# The same script: services of Swarm, its overlay network and that one's encryption.
SWARM = """
NETFILTER_XT_MATCH_IPVS IP_VS IP_VS_NFCT IP_VS_PROTO_TCP IP_VS_PROTO_UDP IP_VS_RR VXLAN
CRYPTO_GCM CRYPTO_SEQIV XFRM_USER INET_ESP NETFILTER_XT_MATCH_BPF
"""


def set_by(layers: list[str], arch: Arch) -> set[str]:
    """Symbols, without prefix, that a kernel of these layers has, built in or as modules."""
    settings = job_of(resolve(layers, arch, SEARCH)).settings
    return {name.removeprefix("CONFIG_") for name, one in settings.items() if one.value in "ym"}


@pytest.mark.parametrize("arch", [Arch.AMD64, Arch.ARM64, Arch.ARMHF])
@pytest.mark.parametrize("engine", ENGINES)
def test_a_small_kernel_has_what_an_engine_needs(engine: str, arch: Arch) -> None:
    wanted = " ".join([NECESSARY, TABLES, ENGINES[engine]]).split()
    assert set(wanted) - set_by(["virt/qemu", engine, "util/slim"], arch) == set()


@pytest.mark.parametrize("arch", [Arch.AMD64, Arch.ARM64, Arch.ARMHF])
def test_a_small_kernel_keeps_one_decompressor_in_memory(arch: Arch) -> None:
    found = {name for name in set_by(["virt/qemu", "util/slim"], arch) if "_COMPILE_DECOMP_" in name}
    assert found == {"SQUASHFS_COMPILE_DECOMP_SINGLE"}


def test_a_small_kernel_has_what_a_cluster_needs() -> None:
    assert set(SWARM.split()) - set_by(["virt/qemu", "apps/cluster", "util/slim"], Arch.AMD64) == set()


@pytest.mark.parametrize("machine", ["odroid/xu", "virt/qemu"])
def test_a_small_kernel_for_armhf_starts_where_memory_begins_and_runs_debian_s_programs(machine: str) -> None:
    # allnoconfig leaves them out, and no build tells: the screen stays dark, or programs with threads die.
    wanted = {"AUTO_ZRELADDR", "ARM_THUMB", "COMPAT_32BIT_TIME"}
    assert wanted - set_by([machine, "util/slim"], Arch.ARMHF) == set()


def test_a_small_kernel_for_amlogic_s_boards_has_what_no_list_of_modules_names() -> None:
    assert set(AMLOGIC.split()) - set_by(["odroid/c2", "util/slim"], Arch.ARM64) == set()


@pytest.mark.parametrize("boards", FAMILIES, ids=[family[0] for family in FAMILIES])
def test_boards_of_a_family_share_one_small_kernel(boards: tuple[str, ...]) -> None:
    arch = FAMILIES[boards]
    jobs = [job_of(resolve([board, "engine/podman", "util/slim"], arch, SEARCH)) for board in boards]
    assert len({one.text for one in jobs}) == 1


@pytest.mark.parametrize("board", ["odroid/m1", "pi/4"])
def test_a_board_without_settings_for_its_chips_is_refused(board: str) -> None:
    with pytest.raises(UserError, match="exclude each other"):
        resolve([board, "util/slim"], Arch.ARM64, SEARCH)
