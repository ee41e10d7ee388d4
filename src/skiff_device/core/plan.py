"""Compares what should be with what is: a pure function to actions, each with a sentence and a reason."""

from __future__ import annotations

from dataclasses import dataclass, field

from skiff_device.core.desired import Source, Wanted
from skiff_device.core.observe import Observed, Seen

BESIDE = ".skiff-new"


@dataclass(frozen=True)
class Action:
    """One step. kind is image, folder, discard, create, replace, finish, start, policy or retire.

    previous names the container that is put back when the new one does not start.
    """

    kind: str
    container: str
    text: str
    reason: str
    # image: ways to get it, in order: pull, build. Otherwise of no meaning.
    ways: tuple[str, ...] = ()
    # image: whether the container can do without, with the image that is there.
    optional: bool = False
    path: str = ""
    start: bool = False
    previous: str = ""


@dataclass(frozen=True)
class Blocked:
    """A container that nothing can be done for until somebody helps."""

    container: str
    text: str
    hint: str


@dataclass(frozen=True)
class Plan:
    """What to do, in order, and what cannot be done."""

    actions: tuple[Action, ...] = ()
    blocked: tuple[Blocked, ...] = ()
    # Dated containers of ours, and those that are no longer in the file.
    aside: tuple[str, ...] = ()


@dataclass
class _Draft:
    actions: list[Action] = field(default_factory=list)
    blocked: list[Blocked] = field(default_factory=list)


def make(wanted: dict[str, Wanted], seen: Observed, today: str, renew: str = "") -> Plan:
    """The actions that bring seen to wanted. today is YYYY-MM-DD, for names; renew names one to make anew."""
    draft = _Draft()
    for name, want in wanted.items():
        _one(draft, name, want, seen, today, renew == name)
    aside = kept_aside(wanted, seen)
    for name in aside:
        found = seen.containers[name]
        if found.core not in wanted and found.name == found.core and found.runs:
            reason = "it is no longer in the file"
            draft.actions.append(Action("retire", found.core, f"stop {name} and keep it", reason))
        elif found.restart != "no":
            reason = "it is kept aside"
            draft.actions.append(
                Action("policy", name, f"let {name} rest when the machine starts", reason, path="no")
            )
    return Plan(tuple(draft.actions), tuple(draft.blocked), aside)


def kept_aside(wanted: dict[str, Wanted], seen: Observed) -> tuple[str, ...]:
    """Containers of ours not in use: replaced ones, and those no longer in the file; oldest first."""
    names = [
        one.name
        for one in seen.containers.values()
        if one.core and (one.name != one.core or one.core not in wanted) and not one.name.endswith(BESIDE)
    ]
    return tuple(sorted(names, key=_dated))


def _dated(name: str) -> tuple[str, int]:
    """Sorts NAME.2026-11-23-2 before NAME.2026-11-23-10."""
    head, _, tail = name.rpartition("-")
    return (head, int(tail)) if len(head) > 8 and head[-3:-2] == "-" and tail.isdigit() else (name, 0)


def aside_name(name: str, today: str, taken: set[str] | frozenset[str]) -> str:
    """NAME.YYYY-MM-DD, with -2, -3 … behind when that is taken."""
    first = f"{name}.{today}"
    number, result = 1, first
    while result in taken:
        number += 1
        result = f"{first}-{number}"
    return result


def _one(draft: _Draft, name: str, want: Wanted, seen: Observed, today: str, renew: bool) -> None:
    found = seen.containers.get(name)
    beside = seen.containers.get(name + BESIDE)
    if found is not None and found.core != name:
        text = f"a container named {name} is there that Skiff did not make"
        draft.blocked.append(Blocked(name, text, f"docker rename {name} {name}-old; skiff-core apply"))
        return
    accepted = _definitions(want, seen)
    changed = found is None or renew or found.definition not in accepted
    if found is not None and changed and not renew and seen.boot.failed.get(name) in accepted:
        text = "the new definition did not start; the one before is in use"
        draft.blocked.append(
            Blocked(name, text, f"skiff-core logs {name}; again: skiff-core apply --renew {name}")
        )
        changed = False
    half_done = found is None and beside is not None and beside.core == name and beside.definition in accepted
    if beside is not None and beside.core == name and not half_done:
        reason = "an apply was cut short"
        draft.actions.append(Action("discard", name, f"remove the half-made {beside.name}", reason))
    if changed and want.missing:
        path = want.missing[0]
        draft.blocked.append(Blocked(name, f"the folder {path} of a mount is not there", f"mkdir -p {path}"))
        return
    _image(draft, name, want, seen, needed=changed and not half_done, renew=renew)
    first = name not in seen.boot.applied
    if changed or found is None or not found.runs:
        for path in want.folders:
            reason = "a mount names it"
            draft.actions.append(Action("folder", name, f"make the folder {path}", reason, path=path))
    aside = [one for one in kept_aside({name: want}, seen) if seen.containers[one].core == name]
    newest = aside[-1] if aside else ""
    if half_done:
        text = f"put the new {name} into its place{_and_start(want)}"
        reason = "an apply was cut short"
        start = want.container.start_after_create
        draft.actions.append(Action("finish", name, text, reason, start=start, previous=newest))
    elif found is None:
        text = f"make container {name} from {want.source.image.name}{_and_start(want)}"
        start = want.container.start_after_create
        draft.actions.append(Action("create", name, text, "there is none", start=start))
    elif changed:
        kept = aside_name(name, today, seen.containers.keys() | set())
        text = f"make {name} anew, and keep the one that was as {kept}"
        reason = "asked for" if renew else "its definition changed"
        start = want.container.start_after_create or found.runs
        draft.actions.append(Action("replace", name, text, reason, path=kept, start=start, previous=kept))
    else:
        _running(draft, want, found, first, newest if found.state == "created" else "")


def _and_start(want: Wanted) -> str:
    return ", and start it" if want.container.start_after_create else ""


def _running(draft: _Draft, want: Wanted, found: Seen, first: bool, previous: str) -> None:
    """Restart policy and state of a container that is as it should be."""
    name = found.name
    policy = want.container.restart_policy or "no"
    if found.restart != policy:
        text = f"set the restart policy of {name} to {policy}"
        draft.actions.append(Action("policy", name, text, f"it is {found.restart}", path=policy))
    if found.runs:
        return
    reason = ""
    if want.container.start_after_create and found.state == "created":
        reason = "it was never started"
    elif want.container.start_after_create and found.restart != policy:
        reason = "it is in the file again"
    elif first and (
        policy == "always" or (want.container.start_after_create and not want.container.restart_policy)
    ):
        reason = "the machine was started"
    if reason:
        draft.actions.append(Action("start", name, f"start {name}", reason, start=True, previous=previous))


def _definitions(want: Wanted, seen: Observed) -> set[str]:
    """Definitions that are right, given the image that is there."""
    there = seen.images.get(want.source.image.name)
    now = want.source.fingerprint
    if there is None:
        return {want.definition(""), want.definition(now)}
    return {want.definition(now if there.source and now else there.source)}


def ways_to(source: Source) -> tuple[str, ...]:
    """How to get an image, in order, by its policy; as skiff-core does."""
    if source.image.build is None:
        return ("pull",)
    if source.image.pull == "":
        return ("build",)
    return ("build", "pull") if source.image.pull == "ifbuildfails" else ("pull", "build")


def _image(draft: _Draft, name: str, want: Wanted, seen: Observed, *, needed: bool, renew: bool) -> None:
    image = want.source.image
    there = seen.images.get(image.name)
    verbs = {"pull": f"pull {image.name}", "build": f"build {image.name}"}
    ways: tuple[str, ...] = ()
    optional, reason = True, ""
    if there is None:
        if needed:
            ways, reason, optional = ways_to(want.source), "it is not on this machine", False
    elif there.source and want.source.fingerprint and there.source != want.source.fingerprint:
        ways, reason, optional = ("build",), "its source changed", False
    elif renew:
        ways, reason = ways_to(want.source), "asked for"
    elif image.pull == "always" and image.name not in seen.boot.pulled:
        ways, reason = ("pull",), "its policy is always"
    if ways and not any(one.kind == "image" and one.path == image.name for one in draft.actions):
        text = ", or else ".join(verbs[way] for way in ways)
        draft.actions.append(Action("image", name, text, reason, ways, optional, path=image.name))
