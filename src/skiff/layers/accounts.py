"""Numbers of users and groups: two of one number would be the same to the kernel."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from skiff.host.errors import UserError
from skiff.layers.load import Layer
from skiff.model.accounts import GROUPS, USERS
from skiff.model.recipe import Recipe


def check_accounts(recipe: Recipe, layers: Sequence[Layer]) -> None:
    """Raise UserError when two users have one number, or two groups, those of every image included."""
    # Buildroot has numbers of its own.
    fixed = recipe.builder == "debian"
    ours = {name: number for name, number, *_ in USERS} if fixed else {}
    users = {user.name: user.uid for user in recipe.users}
    keys = {name: ("tree.users", recipe.origins[f"users[{name}]"]) for name in users}
    _check("users", {**ours, **users}, keys, layers)
    groups = {**(GROUPS if fixed else {}), **recipe.groups}
    # A user's own group is one that is there already, or gets the user's number.
    own = {name: number for name, number in users.items() if name not in groups}
    keys = {name: key for name, key in keys.items() if name in own}
    keys |= {name: ("tree.groups", recipe.origins[f"groups[{name}]"]) for name in recipe.groups}
    _check("groups", {**groups, **own}, keys, layers)


def _check(
    what: str, numbers: Mapping[str, int], keys: Mapping[str, tuple[str, str]], layers: Sequence[Layer]
) -> None:
    """``keys``: for each name that a layer gave, the key in layer.toml and the layer."""
    names: dict[int, str] = {}
    for name, number in numbers.items():
        other = names.setdefault(number, name)
        if other == name:
            continue
        key, of_layer = keys[name] if name in keys else keys[other]
        toml = next(layer.toml for layer in layers if layer.name == of_layer)
        raise UserError(
            f"{toml}: {key}: the {what} {name} and {other} both have number {number}",
            hint="give one of them another number; a user's group has the user's",
        )
