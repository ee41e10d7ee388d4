"""`skiff sbom`: what is in the image, for its owner."""

from __future__ import annotations

import click

from skiff.cli.common import print_json
from skiff.cli.options import examples, json_option, workspace_option
from skiff.image.report import cyclonedx, require_image
from skiff.model.workspace import Workspace


@click.command(
    epilog=examples(
        "skiff sbom                      a table of packages, versions and licences",
        "skiff sbom --json               the same for a program",
        "skiff sbom --cyclonedx > bom    a CycloneDX 1.5 document",
    )
)
@workspace_option
@click.option("--cyclonedx", "as_cyclonedx", is_flag=True, help="Print a CycloneDX 1.5 document (JSON).")
@json_option
def command(workspace: Workspace, as_json: bool, as_cyclonedx: bool) -> None:
    """List every package in the image with its version and licences."""
    image, manifest = require_image(workspace.image)
    if as_cyclonedx:
        print_json(cyclonedx(image, manifest))
    elif as_json:
        print_json(manifest.packages)
    else:
        for item in manifest.packages:
            click.echo(f"{item.name:32} {item.version:32} {', '.join(item.licences) or 'see its source'}")
