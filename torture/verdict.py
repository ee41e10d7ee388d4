"""What came of an attack, and all of them as a table with one verdict."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec


class Blow(msgspec.Struct, frozen=True):
    """One case of an attack."""

    what: str
    # Empty: the device stood it. Else how it did not.
    problem: str = ""
    # Nothing could be asked of the device, as when both slots were damaged.
    beyond: bool = False


class Attack(msgspec.Struct, frozen=True):
    """An attack: its cases, in order."""

    name: str
    blows: tuple[Blow, ...]

    @property
    def fallen(self) -> list[Blow]:
        """Cases that the device did not stand."""
        return [blow for blow in self.blows if blow.problem]


def table(attacks: Sequence[Attack]) -> str:
    """All attacks as Markdown, one row each."""
    rows = ["| attack | cases | stood | beyond help | not stood |", "| --- | --- | --- | --- | --- |"]
    for attack in attacks:
        beyond = sum(blow.beyond for blow in attack.blows)
        stood = len(attack.blows) - beyond - len(attack.fallen)
        rows.append(f"| {attack.name} | {len(attack.blows)} | {stood} | {beyond} | {len(attack.fallen)} |")
    return "\n".join(rows)


def verdict(attacks: Sequence[Attack], failures: Sequence[str] = ()) -> str:
    """One line: whether all was stood, else what was not, the first case in words.

    ``failures``: what kept attacks from being carried out. That is no success either.
    """
    fallen = [(attack, blow) for attack in attacks for blow in attack.fallen]
    count = sum(len(attack.blows) for attack in attacks)
    if fallen:
        attack, blow = fallen[0]
        first = f"{attack.name}, {blow.what}: {blow.problem}"
        return f"verdict: {len(fallen)} of {count} attacks not stood; {first}"
    if failures:
        return f"verdict: {count} attacks stood; {failures[0].splitlines()[0]}"
    return f"verdict: all {count} attacks stood" if count else "verdict: nothing was attacked"
