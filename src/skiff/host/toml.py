"""Reads a TOML file into its type, and says of a mistake in it: which file, which key, what to do."""

from __future__ import annotations

import difflib
import re
import tomllib
from pathlib import Path
from typing import Annotated, Any, TypeVar, get_args, get_origin, get_type_hints

import msgspec

from skiff.host.errors import UserError
from skiff.host.files import shown

T = TypeVar("T")

# msgspec's word for some entry of a table.
_SOME = "[...]"
# msgspec's words for types → ours.
_TYPES = {
    "array": "a list",
    "object": "a table",
    "str": "a string",
    "int": "a whole number",
    "float": "a number with a point",
    "bool": "true or false",
    "null": "nothing",
    "datetime": "a date",
    "date": "a date",
    "time": "a time",
}


def parse(path: Path) -> dict[str, Any]:
    """The tables of a TOML file. Raises UserError that names file and line."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except tomllib.TOMLDecodeError as error:
        text = str(error)
        place = re.search(r" \(at line (\d+), column (\d+)\)$", text)
        where = f"line {place[1]}, column {place[2]}: " if place else ""
        what = _lower(text[: place.start()] if place else text.removesuffix(" (at end of document)"))
        raise UserError(
            f"{shown(path)}: {where}not TOML: {what}",
            hint="mend that line; strings stand in quotes, lists in [ ]",
        ) from error
    except UnicodeDecodeError as error:
        raise UserError(f"{shown(path)}: not UTF-8", hint="save the file in UTF-8") from error
    except OSError as error:
        raise UserError(
            f"{shown(path)}: {error.strerror}", hint="name a file that is there and may be read"
        ) from error


def convert(path: Path, data: object, kind: type[T], page: str, at: str = "") -> T:
    """Tables of the file ``path`` as a value of a type; ``at`` is the key where they lie, if not the top.

    ``page`` of the documentation lists all keys. Raises UserError that names file and key.
    """
    try:
        return msgspec.convert(data, kind)
    except msgspec.ValidationError as error:
        raise _explain(f"{shown(path)}: ", str(error), data, kind, page, at) from error


def _explain(file: str, message: str, data: Any, kind: type[Any], page: str, at: str) -> UserError:
    """msgspec's message, ``Expected `array`, got `str` - at `$.kernel.modules```, in our words."""
    what, _, place = message.partition(" - at ")
    # Of a table's own names msgspec says: `key` in `$.tree.groups`.
    steps = _steps(place.rpartition(" in ")[2].strip("`"))
    named = _steps(at) + _named([*steps, _SOME] if place.startswith("`key`") else steps, data, kind)
    key = "".join(step if step.startswith("[") else f".{step}" for step in named).lstrip(".")
    if match := re.match(r"Object contains unknown field `(.*)`", what):
        return _unknown_key(file + (f"{key}." if key else ""), steps, match[1], kind)
    start = f"{file}{key}: " if key else file
    if match := re.match(r"Object missing required field `(.*)`", what):
        return UserError(f"{start}{match[1]} is missing", hint=f"add a line `{match[1]} = …`")
    if match := re.match(r"Expected `str` matching regex '(.*)'", what):
        value = "name" if place.startswith("`key`") else "value"
        # `$` says the same, to who looks for a word that fits.
        pattern = match[1].replace("\\\\", "\\").replace(r"\Z", "$")
        return UserError(f"{start}not an allowed {value}", hint=f"it has to match {pattern}")
    if match := re.match(r"Expected `([\w |]+)`, got `(\w+)`$", what):
        kinds = [one for one in match[1].split(" | ") if one != "null"]
        expected = " or ".join(_TYPES.get(one, one) for one in kinds)
        return UserError(
            f"{start}expected {expected}, got {_TYPES.get(match[2], match[2])}",
            # One value stands for a list of one, where a list is allowed.
            hint=_example("array" if "array" in kinds else kinds[0], named, match[2]),
        )
    if match := re.match(r"Expected `(int|float)` (>=|<=) (-?\d+)", what):
        number = "a whole number" if match[1] == "int" else "a number"
        bound = "at least" if match[2] == ">=" else "at most"
        return UserError(f"{start}expected {number} of {bound} {match[3]}", hint="put the number right")
    return UserError(f"{start}{_lower(what)}", hint=f"{page} lists all keys")


def _steps(place: str) -> list[str]:
    """``$.tree.users[0].uid`` → tree, users, [0], uid. `[...]` stands for some key of a table."""
    return re.findall(r"\[[^\]]*\]|[^.\[\]$]+", place)


def _named(steps: list[str], data: Any, kind: Any) -> list[str]:
    """The steps with the name of the wrong entry for each `[...]`."""
    named = []
    for step in steps:
        if step == _SOME:
            name = next(name for name, value in data.items() if not _fits({name: value}, kind))
            named.append(name if re.fullmatch(r"[\w-]+", name) else f'"{name}"')
            data = data[name]
        else:
            named.append(step)
            data = data[int(step[1:-1]) if step.startswith("[") else step]
        kind = _inner(kind, step)
    return named


def _fits(data: object, kind: Any) -> bool:
    try:
        msgspec.convert(data, kind)
    except msgspec.ValidationError:
        return False
    return True


def _inner(kind: Any, step: str) -> Any:
    """The type of what lies one step below."""
    while get_origin(kind) is Annotated:
        kind = get_args(kind)[0]
    if step.startswith("["):
        # A list or a table of tables: what one of them may hold.
        return get_args(kind)[1 if get_origin(kind) is dict else 0]
    return get_type_hints(kind, include_extras=True)[step]


def _unknown_key(where: str, steps: list[str], key: str, kind: type[Any]) -> UserError:
    known = _keys_at(kind, steps)
    near = difflib.get_close_matches(key, known, n=1)
    guess = f"did you mean {near[0]}? " if near else ""
    elsewhere = "" if near else _other_section(kind, key)
    return UserError(f"{where}{key}: unknown key", hint=f"{guess}{elsewhere}known here: {', '.join(known)}")


def _keys_at(kind: Any, steps: list[str]) -> list[str]:
    """Names of the keys that the table at this place may have."""
    for step in steps:
        kind = _inner(kind, step)
    return [field.name for field in msgspec.structs.fields(kind)]


def _other_section(kind: type[Any], key: str) -> str:
    """A remark when the key belongs to another section."""
    for section in msgspec.structs.fields(kind):
        if isinstance(section.type, type) and issubclass(section.type, msgspec.Struct):
            if key in [field.name for field in msgspec.structs.fields(section.type)]:
                return f"{key} belongs in [{section.name}]; "
        elif key == section.name:
            return f"{key} belongs at the top of the file, before the first [section]; "
    return ""


def _example(kind: str, steps: list[str], got: str) -> str:
    """How a value of that kind is written, in place of what was found."""
    if kind == "array" and got == "object":
        return f"write it as [[{'.'.join(steps)}]], once for each"
    name = steps[-1] if steps and not steps[-1].startswith("[") else "key"
    forms = {
        "array": f'{name} = ["…", "…"]',
        "str": f'{name} = "…"',
        "int": f"{name} = 1",
        "bool": f"{name} = true",
        "object": f"[{'.'.join(steps)}], with its keys below that",
    }
    return (
        f"write it as {forms[kind]}" if kind in forms and "[" not in "".join(steps) else "put its type right"
    )


def _lower(text: str) -> str:
    return text[:1].lower() + text[1:]
