"""How the container engines are started again, stopped by hand and reported."""

from __future__ import annotations

import os
import stat

import pytest

from tests.tool.device import ROOTFS, Device

ENGINE = '. "$LIB/engine.sh"\n'


def ended(device: Device, stat: str = "finish", status: int = 1) -> None:
    device.put("etc/service/docker/supervise/stat", f"{stat}\n")
    device.says(f"{ENGINE}engine_ended docker dockerd {status}")


def test_three_ends_in_a_row_name_a_remedy(device: Device) -> None:
    device.put("run/skiff/persist", "")
    for _ in range(2):
        ended(device)
        assert device.status("engine")[:2] == ["wait", "dockerd ended with status 1 and is started again"]
    ended(device)
    state, text, hint = device.status("engine")
    assert (state, text) == ("fail", "dockerd ended 3 times in a row (status 1)")
    assert hint == "skiff-doctor"


DOCKER_RUN = ROOTFS.parents[1] / "engine/docker/services/docker/run"
# As the program does it: what the file says too may not be a flag.
DOCKERD = r"""
dockerd() {
	for flag in data-root log-driver log-opt containerd; do
		case $* in
		*"--$flag "*) ! grep "\"$flag" "$3" || return 1 ;;
		esac
	done
}
"""
LOG_OPTS = "--log-opt max-size=5m --log-opt max-file=3"


@pytest.mark.parametrize(
    ("settings", "here", "not_here"),
    [
        (None, ["--data-root MNT/skiff/docker", f"--log-driver local {LOG_OPTS}"], ["--config-file"]),
        ('{"debug": true}', ["--config-file", f"--log-driver local {LOG_OPTS}"], []),
        ('{"log-opts": {"max-size": "20m"}}', ["--config-file", "--log-driver local"], ["--log-opt"]),
        ('{"log-driver": "json-file"}', ["--config-file"], ["--log-driver", "--log-opt"]),
        ('{"data-root": "/x"}', ["--config-file"], ["--data-root"]),
        ('{"containerd": "/x"}', [f"--log-driver local {LOG_OPTS}"], ["--config-file"]),
    ],
)
def test_what_the_settings_say_is_no_flag(
    device: Device, settings: str | None, here: list[str], not_here: list[str]
) -> None:
    if settings:
        device.put("mnt/persist/skiff/docker.json", settings)
    script = DOCKER_RUN.read_text()
    lines = script[script.index("# default KEY") : script.index("# Its builds are in there too.")]
    said = device.says(f'CONTAINERD=/run/docker/containerd{DOCKERD}{lines}\necho "$FLAGS"')
    for words in here:
        assert words.replace("MNT", f"{device.root}/mnt/persist") in said
    for words in not_here:
        assert words not in said
    # What is left out is told.
    left_out = settings is not None and "--config-file" not in said
    assert (device.root / "run/skiff/engine.note").exists() is left_out


def test_what_is_wrong_with_its_settings_is_told(device: Device) -> None:
    device.put("run/skiff/persist", "")
    words = "unable to configure the Docker daemon with file /etc/docker/daemon.json: no such option"
    device.put("run/log/messages", f"Nov 26 06:00:00 skiff daemon.notice docker: {words}\n")
    for _ in range(3):
        ended(device)
    assert device.status("engine")[1] == f"dockerd ended 3 times in a row (status 1): {words}"


PODMAN_RUN = ROOTFS.parents[1] / "engine/podman/services/podman/run"


@pytest.mark.parametrize("crew", [False, True])
def test_podman_starts_once_what_is_to_be_there_always_and_crew_its_own(device: Device, crew: bool) -> None:
    if crew:
        device.put("etc/service/crew/run", "")
    script = PODMAN_RUN.read_text()
    lines = script[script.index("restart_containers() {") : script.index("# The container of a build")]
    stubs = 'podman() { echo "podman $*"; }\nsv() { echo "sv $*"; }\n'
    said = device.says(f"{lines}{stubs}restart_containers; restart_containers || :").split("\n")
    others = " --filter label!=crew.process" if crew else ""
    assert said == ["sv up crew"] * crew + [
        f"podman start --all --filter restart-policy={policy}{others}"
        for policy in ("always", "unless-stopped")
    ]


# Docker's root, with what must stay where it is.
KEPT = ("image/overlay2/repositories.json", "overlay2/1/diff/app.db", "volumes/data/_data/precious.db")
DATABASES = (
    "network/files/local-kv.db",
    "volumes/metadata.db",
    "buildkit/cache.db",
    "containerd/daemon/io.containerd.metadata.v1.bolt/meta.db",
)


def with_data(device: Device, said: str) -> None:
    device.put("run/skiff/persist", "")
    for name in (*KEPT, *DATABASES):
        device.put(f"mnt/persist/skiff/docker/{name}", name)
    device.put("run/log/messages", f"Nov 26 06:00:00 skiff daemon.notice docker: {said}\n")


def test_damaged_databases_are_set_aside_once_and_nothing_else(device: Device) -> None:
    with_data(device, 'level=error msg="failed to load plugin" error="invalid database"')
    for _ in range(3):
        ended(device)
    text = "dockerd ended 3 times in a row; its damaged databases are set aside"
    assert device.status("engine")[:2] == ["wait", text]
    (aside,) = (device.root / "mnt/persist/skiff").glob("docker.databases.2*")
    for name in DATABASES:
        assert (aside / name).read_text() == name
        assert not (device.root / "mnt/persist/skiff/docker" / name).exists()
    for name in KEPT:
        assert device.read(f"mnt/persist/skiff/docker/{name}") == name
    ended(device)
    state, _, hint = device.status("engine")
    assert (state, hint) == ("fail", "skiff-doctor")


def test_a_network_that_a_broken_update_left_half_made_is_set_aside_alone(device: Device) -> None:
    with_data(device, "1 (docker0): conflicts with network 2 (docker0): networks have same bridge name")
    for _ in range(3):
        ended(device)
    (aside,) = (device.root / "mnt/persist/skiff").glob("docker.databases.2*")
    assert [str(path.relative_to(aside)) for path in aside.rglob("*.db")] == [DATABASES[0]]
    for name in (*KEPT, *DATABASES[1:]):
        assert device.read(f"mnt/persist/skiff/docker/{name}") == name


def test_where_there_are_no_databases_none_are_said_to_be_set_aside(device: Device) -> None:
    device.put("run/skiff/persist", "")
    device.put("mnt/persist/skiff/docker/engine-id", "")
    device.put("run/log/messages", "Nov 26 06:00:00 skiff daemon.notice docker: invalid database\n")
    for _ in range(3):
        ended(device)
    assert device.status("engine")[0] == "fail"


def test_for_another_reason_databases_stay(device: Device) -> None:
    with_data(device, "failed to start daemon: no module overlay")
    for _ in range(3):
        ended(device)
    said = "dockerd ended 3 times in a row (status 1): failed to start daemon: no module overlay"
    assert device.status("engine")[:2] == ["fail", said]
    for name in (*KEPT, *DATABASES):
        assert device.read(f"mnt/persist/skiff/docker/{name}") == name


def test_stopped_by_hand_it_starts_anew_at_once(device: Device) -> None:
    device.put("run/skiff/persist", "")
    device.put("run/skiff/engine.verified", "")
    for _ in range(3):
        ended(device)
    ended(device, "finish, want down")
    assert device.status("engine") == ["warn", "docker was stopped by hand", "sv up docker"]
    # With nothing counted, the next start does not wait.
    assert not (device.root / "run/skiff/engine.ends").exists()


def test_a_restart_by_hand_is_no_fault(device: Device) -> None:
    device.put("run/skiff/persist", "")
    for _ in range(3):
        ended(device, status=0)
    assert device.status("engine")[:2] == ["wait", "docker is started again"]
    assert not (device.root / "run/skiff/engine.ends").exists()
    # It does not make those that were faults into none.
    ended(device)
    ended(device, status=0)
    assert device.read("run/skiff/engine.ends") == "1\n"


def test_an_engine_that_is_damaged_stays_so_when_its_service_goes_down(device: Device) -> None:
    device.put("run/skiff/persist", "")
    device.says('report engine fail "docker is not started: its part of the image is damaged"')
    ended(device, "finish, want down")
    assert device.status("engine")[0] == "fail"


def test_the_watch_ends_with_the_engine_that_it_watches(device: Device) -> None:
    device.put("run/skiff/persist", "")
    # The service's shell ends, as an engine does that cannot start; its watch would otherwise look for ever.
    done = device.sh(f'{ENGINE}(exec >/dev/null 2>&1; engine_watch docker "$RUN/none") &\necho $!')
    watch = int(done.stdout)
    told = device.says(
        "for turn in 1 2 3 4 5 6 7 8 9 10; do\n"
        f"kill -0 {watch} 2>/dev/null || {{ echo gone; break; }}; pause 1; done"
    )
    assert told == "gone"


def test_what_waits_for_the_engine_is_not_begun_without_its_disk(device: Device) -> None:
    script = 'if engine_watch podman "$RUN/podman.sock"; then echo begun; fi'
    assert device.says(f"{ENGINE}{script}") == ""
    device.put("run/skiff/persist", "")
    os.mknod(device.root / "run/skiff/podman.sock", stat.S_IFSOCK | 0o600)
    server = "engine_share() { :; }\ntimeout() { echo 5.4; }\n"
    assert device.says(f"{ENGINE}{server}{script}") == "begun"


def test_its_programs_are_unpacked_in_advance_where_there_is_memory_for_it(device: Device) -> None:
    script = f"""{ENGINE}
cat() {{ echo "$1" >>"$ROOT/read"; }}
engine_read_ahead first second
until [ "$(grep -c . "$ROOT/read")" = 2 ]; do pause 0.05; done"""
    device.put("proc/meminfo", "MemTotal: 990000 kB\n")
    assert device.sh(script).returncode == 0
    assert sorted(device.read("read").splitlines()) == ["first", "second"]
    device.put("proc/meminfo", "MemTotal: 490000 kB\n")
    device.put("read", "")
    assert device.sh(script.replace("= 2", "= 0")).returncode == 0
    assert device.read("read") == ""


def test_on_small_machines_its_programs_are_unpacked_side_by_side_and_those_that_fit_are_used(
    device: Device,
) -> None:
    device.put("proc/meminfo", "MemTotal: 490000 kB\n")
    names = ["first", "second", "large"]
    paths = " ".join(str(device.put(f"usr/bin/{name}", name)) for name in names)
    # Each copy waits for the others: one after the other they would not end.
    told = device.says(f"""{ENGINE}
mount() {{ [ "$1" = -t ] || echo "$2 ${{3##*/}}" >>"$ROOT/mounts"; }}
cp() {{
	: >"$ROOT/begun.${{2##*/}}"
	until [ -e "$ROOT/begun.first" ] && [ -e "$ROOT/begun.second" ]; do pause 0.05; done
	command cp "$@"
	case $2 in */large) return 1 ;; esac
}}
engine_small_memory {paths}
echo $GOGC""")
    assert told == "50"
    programs = device.root / "run/skiff/engine.programs"
    assert device.read("mounts").splitlines() == [f"{programs}/{name} {name}" for name in names[:2]]
    assert sorted(path.name for path in programs.iterdir()) == ["first", "second"]
