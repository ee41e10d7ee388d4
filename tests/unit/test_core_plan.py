"""What a plan does for each difference between the file and the engine, and the words of `docker create`."""

from __future__ import annotations

from dataclasses import replace

import pytest

from skiff_device.core import plan
from skiff_device.core.desired import Source, Wanted, create_words, init_of
from skiff_device.core.model import Build, Container, Image
from skiff_device.core.observe import Boot, Observed, Seen, SeenImage

TODAY = "2026-11-23"
BOX = Container("box", "here/box:1", start_after_create=True, restart_policy="always")
BUILT = Source(Image("here/box:1", build=Build("src")), "new")


def want(container: Container = BOX, source: Source = BUILT) -> dict[str, Wanted]:
    return {container.name: Wanted(container, source)}


def seen(name: str = "box", built_from: str = "new", container: Container = BOX, **changes: object) -> Seen:
    definition = Wanted(container, BUILT).definition(built_from)
    made = Seen("1" * 64, name, container.name, definition, "img", "running", restart="always")
    return replace(made, **changes)  # type: ignore[arg-type]


def observed(*containers: Seen, image: str | None = "new", boot: Boot | None = None) -> Observed:
    images = {} if image is None else {"here/box:1": SeenImage("img", image)}
    boot = boot or Boot(frozenset({"box"}))
    return Observed({one.name: one for one in containers}, images, boot)


def kinds(made: plan.Plan) -> list[str]:
    return [action.kind for action in made.actions]


def test_nothing_to_do() -> None:
    assert plan.make(want(), observed(seen()), TODAY) == plan.Plan()


def test_a_missing_container_is_made_after_its_image() -> None:
    made = plan.make(want(), observed(image=None), TODAY)
    assert kinds(made) == ["image", "create"]
    assert made.actions[0].ways == ("build",)
    assert made.actions[1].start
    assert kinds(plan.make(want(), observed(), TODAY)) == ["create"]


def test_no_image_is_needed_for_a_container_that_is_there() -> None:
    assert plan.make(want(), observed(seen(), image=None), TODAY) == plan.Plan()


@pytest.mark.parametrize(
    ("policy", "build", "ways"),
    [
        ("", True, ("build",)),
        ("", False, ("pull",)),
        ("ifnotpresent", False, ("pull",)),
        ("ifnotpresent", True, ("pull", "build")),
        ("always", True, ("pull", "build")),
        ("ifbuildfails", True, ("build", "pull")),
        ("ifbuildfails", False, ("pull",)),
    ],
)
def test_ways_to_an_image(policy: str, build: bool, ways: tuple[str, ...]) -> None:
    image = Image("x", policy, build=Build("src") if build else None)
    assert plan.ways_to(Source(image)) == ways


def test_always_pulls_once_a_boot() -> None:
    always = Source(Image("here/box:1", "always"))
    there = observed(seen(built_from=""), image="")
    made = plan.make(want(source=always), there, TODAY)
    assert [(action.kind, action.optional) for action in made.actions] == [("image", True)]
    again = replace(there, boot=replace(there.boot, pulled=frozenset({"here/box:1"})))
    assert plan.make(want(source=always), again, TODAY) == plan.Plan()


def test_a_changed_source_builds_and_replaces() -> None:
    made = plan.make(want(), observed(seen(built_from="old"), image="old"), TODAY)
    assert kinds(made) == ["image", "replace"]
    assert made.actions[1].path == "box.2026-11-23"


def test_a_pulled_image_does_not_care_for_the_build_source() -> None:
    pulled = Source(Image("here/box:1", "ifnotpresent", build=Build("src")), "changed")
    assert plan.make(want(source=pulled), observed(seen(built_from=""), image=""), TODAY) == plan.Plan()


def test_names_of_kept_containers_do_not_clash() -> None:
    taken = {"box.2026-11-23", "box.2026-11-23-2"}
    assert plan.aside_name("box", TODAY, taken) == "box.2026-11-23-3"
    changed = want(replace(BOX, tty=True))
    old = seen("box.2026-11-23", state="exited", restart="no")
    made = plan.make(changed, observed(seen(), old), TODAY)
    assert made.actions[0].path == "box.2026-11-23-2"
    assert made.aside == ("box.2026-11-23",)


def test_a_power_cut_before_the_old_one_left_begins_anew() -> None:
    changed = want(replace(BOX, tty=True))
    half = seen("box.skiff-new", container=replace(BOX, tty=True), state="created")
    assert kinds(plan.make(changed, observed(seen(), half), TODAY)) == ["discard", "replace"]


def test_a_power_cut_after_the_old_one_left_goes_on() -> None:
    half = seen("box.skiff-new", state="created")
    old = seen("box.2026-11-23", built_from="old", state="exited")
    made = plan.make(want(), observed(half, old), TODAY)
    assert kinds(made) == ["finish", "policy"]
    assert made.actions[0].previous == "box.2026-11-23"
    assert (made.actions[1].container, made.actions[1].path) == ("box.2026-11-23", "no")


def test_a_power_cut_before_the_start_starts() -> None:
    made = plan.make(want(), observed(seen(state="created")), TODAY)
    assert kinds(made) == ["start"]


@pytest.mark.parametrize(
    ("policy", "start", "first", "expected"),
    [
        ("always", True, True, ["start"]),
        ("always", False, True, ["start"]),
        ("always", True, False, []),
        ("", True, True, ["start"]),
        ("no", True, True, []),
        ("unless-stopped", True, True, []),
    ],
)
def test_who_is_started_after_a_boot(policy: str, start: bool, first: bool, expected: list[str]) -> None:
    container = replace(BOX, restart_policy=policy, start_after_create=start)
    stopped = seen(container=container, state="exited", restart=policy or "no")
    boot = Boot() if first else Boot(frozenset({"box"}))
    assert kinds(plan.make(want(container), observed(stopped, boot=boot), TODAY)) == expected


def test_a_foreign_container_is_never_touched() -> None:
    made = plan.make(want(), observed(seen(core="", definition="")), TODAY)
    assert made.actions == ()
    assert made.blocked[0].hint.startswith("docker rename box box-old")


def test_a_missing_mount_blocks_only_what_has_to_be_made() -> None:
    lost = {"box": Wanted(BOX, BUILT, missing=("/nowhere",))}
    assert plan.make(lost, observed(), TODAY).blocked[0].text == "the folder /nowhere of a mount is not there"
    assert plan.make(lost, observed(seen()), TODAY) == plan.Plan()


def test_a_folder_that_went_since_is_made_before_the_start() -> None:
    """Those in RAM are gone after each boot, and podman does not make them."""
    mounted = {"box": Wanted(BOX, BUILT, folders=("/run/udev",))}
    made = plan.make(mounted, observed(seen(state="exited"), boot=Boot()), TODAY)
    assert [(one.kind, one.path) for one in made.actions] == [("folder", "/run/udev"), ("start", "")]
    # One that runs has what was there.
    assert plan.make(mounted, observed(seen()), TODAY) == plan.Plan()


def test_a_container_that_left_the_file_is_stopped_and_kept() -> None:
    made = plan.make({}, observed(seen()), TODAY)
    assert kinds(made) == ["retire"]
    assert made.aside == ("box",)
    assert plan.make({}, observed(seen(state="exited", restart="no")), TODAY).actions == ()


def test_a_definition_that_failed_is_not_tried_again_unless_asked() -> None:
    changed = want(replace(BOX, tty=True))
    boot = Boot(frozenset({"box"}), {"box": changed["box"].definition("new")})
    made = plan.make(changed, observed(seen(), boot=boot), TODAY)
    assert made.actions == ()
    assert "--renew box" in made.blocked[0].hint
    assert kinds(plan.make(changed, observed(seen(), boot=boot), TODAY, renew="box")) == ["image", "replace"]


def test_when_it_starts_is_no_part_of_the_definition() -> None:
    other = replace(BOX, start_after_create=False)
    assert Wanted(BOX, BUILT).definition("x") == Wanted(other, BUILT).definition("x")
    assert Wanted(BOX, BUILT).definition("x") != Wanted(replace(BOX, tty=True), BUILT).definition("x")


def test_every_key_becomes_words_of_create() -> None:
    container = Container(
        "box", "here/box:1", ("/bin/sh", "-c"), ("echo $HOME; id",), ("A=b c",), True, "/srv", ("/a:/b:ro",),
        True, ("ALL",), True, True, True, False, ("seccomp=unconfined",), (("/run", "rw"), ("/x", "")),
        ((8080, 80),), ("9.9.9.9",), ("lan",), ("nas:10.0.0.2",), "on-failure:3", True, "RTMIN+3", False,
    )  # fmt: skip
    words = create_words(Wanted(container, BUILT), "box.skiff-new", "HASH")
    assert words == [
        "--name", "box.skiff-new", "--label", "skiff.core=box", "--label", "skiff.core.definition=HASH",
        "--init", "--tty", "--privileged", "--ipc=host", "--pid=host", "--uts=host", "--workdir", "/srv",
        "--restart", "on-failure:3", "--env", "A=b c", "--cap-add", "ALL",
        "--security-opt", "seccomp=unconfined", "--tmpfs", "/run:rw", "--tmpfs", "/x",
        "--publish", "8080:80", "--dns", "9.9.9.9", "--dns-search", "lan", "--add-host", "nas:10.0.0.2",
        "--stop-signal", "SIGRTMIN+3", "--volume", "/a:/b:ro", "--volume", "/tmp/skiff-core/box:/.skiff",
        "--entrypoint", "/bin/sh", "here/box:1", "-c", "echo $HOME; id",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("entrypoint", "image_command", "init"),
    [
        (("/lib/systemd/systemd",), (), "systemd"),
        (("/sbin/init",), (), "init"),
        ((), ("/sbin/init",), "init"),
        (("/bin/sh",), ("/sbin/init",), ""),
        ((), (), ""),
    ],
)
def test_an_init_system_is_pid_1_in_its_own_cgroups(
    entrypoint: tuple[str, ...], image_command: tuple[str, ...], init: str
) -> None:
    container = Container("box", "x", entrypoint=entrypoint, mounts=("/sys/fs/cgroup:/sys/fs/cgroup:ro",))
    assert init_of(container, image_command) == init
    words = create_words(Wanted(container, BUILT), "box", "H", image_command)
    assert ("--cgroupns=private" in words) is bool(init)
    assert ("--init" in words) is not bool(init)
    assert ("SIGRTMIN+3" in words) is (init == "systemd")
    # The host's whole tree would hide the container's own part.
    assert ("/sys/fs/cgroup:/sys/fs/cgroup:ro" in words) is not bool(init)
