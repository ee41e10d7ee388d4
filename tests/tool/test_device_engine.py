"""How the container engines are started again, stopped by hand and reported."""

from __future__ import annotations

from tests.tool.device import Device

ENGINE = '. "$LIB/engine.sh"\n'


def ended(device: Device, stat: str = "finish", status: int = 1) -> None:
    device.put("etc/service/docker/supervise/stat", f"{stat}\n")
    device.says(f"{ENGINE}engine_ended docker dockerd {status}")


def test_three_ends_in_a_row_name_a_remedy(device: Device) -> None:
    device.put("run/skiff/persist", "")
    for _ in range(2):
        ended(device)
        assert device.status("engine")[:2] == ["warn", "dockerd ended with status 1 and is started again"]
    ended(device)
    state, text, hint = device.status("engine")
    assert (state, text) == ("fail", "dockerd ended 3 times in a row (status 1)")
    assert hint.startswith("if its data is damaged: sv -w 60 stop docker && mv ")


def test_stopped_by_hand_it_starts_anew_at_once(device: Device) -> None:
    device.put("run/skiff/persist", "")
    device.put("run/skiff/engine.verified", "")
    for _ in range(3):
        ended(device)
    ended(device, "finish, want down")
    assert device.status("engine") == ["warn", "docker was stopped by hand", "sv up docker"]
    # With nothing counted, the next start does not wait.
    assert not (device.root / "run/skiff/engine.ends").exists()


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
