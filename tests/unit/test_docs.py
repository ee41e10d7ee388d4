"""The hand-written pages name only what exists: links, verbs, options, make targets, layers and paths."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from skiff.cli import cli

ROOT = Path(__file__).resolve().parents[2]
PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))]
NAMES = [page.relative_to(ROOT).as_posix() for page in PAGES]

_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_CODE = re.compile(r"`([^`\n]+)`")
_LINK = re.compile(r"\]\(([^)\s]+)\)")


def code(text: str) -> Iterator[str]:
    """Lines of shell examples, and what stands between backquotes in the text."""
    for language, block in _FENCE.findall(text):
        if language == "sh":
            yield from (line.split("  #")[0].strip() for line in block.replace("\\\n", " ").splitlines())
    yield from _CODE.findall(_FENCE.sub("", text))


def anchors(text: str) -> set[str]:
    """The names that headings of a page get."""
    titles = re.findall(r"^#+ (.+)$", _FENCE.sub("", text), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).strip().replace(" ", "-") for title in titles}


def commands(text: str) -> Iterator[list[str]]:
    """Every `skiff WORDS…` of a page, without `skiff`; an example that prints it is one too."""
    for line in code(text):
        for found in re.finditer(r"(?:^|[\s;|&(]|\.venv/bin/)skiff (.+)", line):
            yield re.split(r"\s[|;&<>]|\s--\s", found[1])[0].split()


def verb_of(words: list[str]) -> click.Command | None:
    """The verb that words begin with; None for options of the group itself and for `VERB`."""
    if words[0].startswith("-") or words[0] == "VERB":
        return None
    verb = cli.get_command(click.Context(cli), words[0])
    if isinstance(verb, click.Group) and len(words) > 1:
        # `fleet status|push` names several.
        return verb.get_command(click.Context(verb), words[1].split("|")[0])
    return verb


def options_of(verb: click.Command) -> set[str]:
    """All spellings of a verb's options."""
    found = {"-h", "--help"}
    for parameter in verb.params:
        found.update(parameter.opts, parameter.secondary_opts)
    return found


def targets() -> set[str]:
    """What `make` can be asked for."""
    makefile = (ROOT / "Makefile").read_text()
    return set(re.findall(r"^([a-z]+):", makefile, re.MULTILINE))


@pytest.fixture(params=PAGES, ids=NAMES)
def page(request: pytest.FixtureRequest) -> Path:
    path = request.param
    assert isinstance(path, Path)
    return path


def test_links_lead_somewhere(page: Path) -> None:
    broken = []
    for link in _LINK.findall(_CODE.sub("", _FENCE.sub("", page.read_text()))):
        if link.startswith(("http://", "https://")):
            continue
        name, _, anchor = link.partition("#")
        target = page.parent / name if name else page
        if not target.exists() or (anchor and anchor not in anchors(target.read_text())):
            broken.append(link)
    assert broken == []


def test_verbs_and_their_options_exist(page: Path) -> None:
    wrong = []
    for words in commands(page.read_text()):
        verb = verb_of(words)
        if verb is None:
            if not words[0].startswith("-") and words[0] != "VERB":
                wrong.append(" ".join(words))
            continue
        named = {word.split("=")[0].rstrip(".,:") for word in words[1:] if re.match(r"--?[a-z]", word)}
        wrong += [f"{verb.name} {word}" for word in sorted(named - options_of(verb))]
    assert wrong == []


def test_make_targets_exist(page: Path) -> None:
    named = {
        found for line in code(page.read_text()) for found in re.findall(r"(?:^|[\s;&|])make ([a-z]+)", line)
    }
    assert named <= targets()


def test_layers_exist(page: Path) -> None:
    # Those of the namespaces that come with the tool; others are a reader's own.
    built_in = {
        path.parent.relative_to(ROOT / "layers").as_posix() for path in ROOT.glob("layers/*/*/layer.toml")
    }
    spaces = "|".join(sorted({name.split("/")[0] for name in built_in}))
    named = {
        found
        for line in code(page.read_text())
        for found in re.findall(rf"(?<![\w./-])((?:{spaces})/[a-z][\w-]*)(?![\w/.-])", line)
    }
    assert named <= built_in


def test_paths_of_the_checkout_exist(page: Path) -> None:
    tops = ("src/", "layers/", "tests/", "tools/", "docs/")
    named = {word for word in _CODE.findall(_FENCE.sub("", page.read_text())) if word.startswith(tops)}
    assert {word for word in named if "<" not in word and not (ROOT / word).exists()} == set()


def kernel_words(text: str) -> set[str]:
    # `skiff.local` is a device's name, `skiff.gone/` a folder.
    return set(re.findall(r"\bskiff\.(?!local\b)[a-z]+(?:_[a-z]+)*\b(?!/)", text))


def test_words_of_the_kernel_command_line_are_those_that_the_device_reads() -> None:
    scripts = (ROOT / "layers/base/rootfs/usr/lib/skiff").iterdir()
    read = {
        word
        for script in scripts
        for word in re.findall(r"cmdline(?:_number)? (skiff\.[a-z_]+)", script.read_text())
    }
    device = (ROOT / "docs/reference/device.md").read_text()
    section = device.partition("## Kernel command line")[2]
    assert kernel_words(section) == read


def test_words_of_the_kernel_command_line_are_in_the_reference(page: Path) -> None:
    known = kernel_words((ROOT / "docs/reference/device.md").read_text())
    named = {word for line in code(page.read_text()) for word in kernel_words(line)}
    assert named <= known


def test_every_service_is_in_the_reference() -> None:
    device = (ROOT / "docs/reference/device.md").read_text().partition("## Services")[2].partition("\n## ")[0]
    services = {path.name for path in ROOT.glob("layers/**/services/*") if path.is_dir()}
    assert services <= set(_CODE.findall(device))


def test_the_tool_s_environment_is_in_the_reference() -> None:
    source = "".join(path.read_text() for path in (ROOT / "src/skiff").rglob("*.py"))
    read = set(re.findall(r"(?:environ(?:\.get)?[(\[]|envvar=)\"(SKIFF_\w+)\"", source))
    documented = set(re.findall(r"\| `(SKIFF_\w+)` \|", (ROOT / "docs/reference/README.md").read_text()))
    assert read == documented


def test_every_dependency_has_its_reason() -> None:
    setup = re.findall(r'^\w*packages="(.*?)"', (ROOT / "tools/setup").read_text(), re.MULTILINE | re.DOTALL)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    base = tomllib.loads((ROOT / "layers/base/layer.toml").read_text())
    assert len(setup) == 2
    python = [*project["project"]["dependencies"], *project["project"]["optional-dependencies"]["dev"]]
    needed = {*setup[0].split(), *setup[1].split(), *base["debian"]["packages"]}
    needed |= {re.split(r"[<>=]", name)[0] for name in (*python, *project["build-system"]["requires"])}
    page = (ROOT / "docs/explanation/dependencies.md").read_text()
    rows = re.findall(r"^\| ([^|]+) \|", page, re.MULTILINE)
    explained = {name for row in rows for name in re.split(r"[ ,()`]+", row)}
    assert needed <= explained


def test_a_wrong_page_is_noticed(tmp_path: Path) -> None:
    """The checks above can fail."""
    bad = tmp_path / "bad.md"
    bad.write_text("[x](gone.md)\n\n```sh\nskiff nosuch --x\nskiff run --nosuch\nmake nosuch\n```\n")
    with pytest.raises(AssertionError):
        test_links_lead_somewhere(bad)
    with pytest.raises(AssertionError):
        test_make_targets_exist(bad)
    with pytest.raises(AssertionError):
        test_verbs_and_their_options_exist(bad)
