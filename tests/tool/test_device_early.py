"""The early look at persist: one that comes late, because the disk is slow, keeps persist from nothing."""

from __future__ import annotations

from tests.tool.device import LIB, Device

EARLY = '. "$LIB/persist-find.sh"; . "$LIB/early.sh"; mount_early() { :; }\n'


def test_it_ends_though_nobody_waits_for_its_answer(device: Device) -> None:
    device.put("run/skiff/persist-early/skiff/hostname", "attic\n")
    assert device.says(f'{EARLY}early_copy; cat "$SEEN/hostname"') == "attic"


def test_its_answer_is_read_while_somebody_does(device: Device) -> None:
    overlay = device.root / "run/skiff/persist-early/skiff/overlay"
    overlay.mkdir(parents=True)
    (overlay / "file").touch()
    assert device.says(f'{EARLY}early_look; echo "$OVERLAY"') == str(overlay)


def test_persist_waits_until_it_is_over_and_holds_nothing(device: Device) -> None:
    early = device.root / "run/skiff/persist-early"
    early.mkdir()
    device.put("proc/77/comm", "sh")
    device.put("run/skiff/early.pid", "77\n")
    device.put("proc/mounts", f"/dev/sda1 {early} ext4 ro 0 0\n")
    text = (LIB / "persist").read_text()
    functions = text[text.index("release_early() {") : text.index("# One try to bring persist up.")]
    said = device.says(
        f"""{functions}
        # The second wait is for what a program of it holds still.
        pause() {{ echo wait; rm -r "$PROC/77" 2>/dev/null || : >"$PROC/mounts"; }}
        umount() {{ echo "umount ${{1##*/}}"; false; }}
        release_early; echo released"""
    )
    assert said.split("\n") == ["wait", "umount persist-early", "wait", "umount persist-early", "released"]
    assert device.status("persist")[0] == "wait"


def test_an_answer_that_is_given_at_once_is_not_lost(device: Device) -> None:
    """The look may be over before the boot gets to waiting for it."""
    # The pid is written between the start of the look and the wait for it.
    script = 'early_copy() { command echo quick 1<>"$RUN/early"; }\necho() { wait; command echo "$@"; }'
    assert device.says(f'{EARLY}{script}\nearly_look; command echo "$OVERLAY"') == "quick"
