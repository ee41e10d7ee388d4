"""`skiff completion`: the script that teaches a shell to complete skiff's words."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from skiff.cli.options import examples


@click.command(
    epilog=examples(
        'eval "$(skiff completion bash)"                               for this shell',
        "skiff completion zsh > ~/.zfunc/_skiff                        for every zsh, with ~/.zfunc in fpath",
        "skiff completion fish > ~/.config/fish/completions/skiff.fish    for every fish",
    )
)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def command(shell: str) -> None:
    """Print the shell's completion script: verbs, options, layers and workspaces."""
    kind = get_completion_class(shell)
    root = click.get_current_context().find_root().command
    assert kind is not None
    click.echo(kind(root, {}, "skiff", "_SKIFF_COMPLETE").source())
