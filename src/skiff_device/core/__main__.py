"""The command skiff-core: verbs, their options, and exit statuses."""

from __future__ import annotations

import argparse
import json
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from skiff_device.common.errors import DeviceError
from skiff_device.core.errors import ConfigError, told
from skiff_device.core.paths import Paths

if TYPE_CHECKING:
    from skiff_device.core import reconcile

_DESCRIPTION = "User environments: containers that people log in to, as config.yaml says."
_EPILOG = """examples:
  skiff-core plan                 what apply would do, and why
  skiff-core apply                do it
  skiff-core apply --renew core   get its image again and make the container anew; the old one is kept
  skiff-core status               containers, images, users
  skiff-core logs -f core         progress of pulling, building and making it
  skiff-core logs --container core   what the container itself writes
  skiff-core check                mistakes and warnings in config.yaml
  skiff-core unpush core          back from a pushed environment to the one that the file names
  skiff-core clean                remove containers that were replaced

exit status: 0 all well, 1 something failed, 2 mistakes in the configuration, 130 interrupted
"""


def say(line: str) -> None:
    """A line of progress."""
    print(line, file=sys.stderr, flush=True)


def complain(error: DeviceError) -> None:
    """What went wrong, and what to do."""
    problems = error.problems if isinstance(error, ConfigError) else (error.message,)
    for problem in problems:
        say(f"skiff-core: {problem}")
    if error.hint and not isinstance(error, ConfigError):
        say(f"  hint: {error.hint}")


def apply(options: argparse.Namespace, paths: Paths) -> int:
    """Reconcile."""
    from skiff_device.core import reconcile

    outcome = reconcile.apply(paths, (lambda line: None) if options.quiet else say, options.renew or "")
    if options.quiet:
        for name, error in outcome.failures.items():
            say(f"skiff-core: {name}: {error.message}")
    return _ended(outcome)


def _ended(outcome: reconcile.Outcome) -> int:
    if outcome.error is not None:
        complain(outcome.error)
    return outcome.status


def push(options: argparse.Namespace, paths: Paths) -> int:
    """Build a pushed environment and switch to it."""
    from skiff_device.core import push as pushing

    return pushing.push(paths, options.container, options.commit, options.hook)


def receive(options: argparse.Namespace, paths: Paths) -> int:
    """Let Crew receive a pushed environment."""
    from skiff_device.core import to_crew

    return to_crew.hand_over(paths, options.container)


def plan(options: argparse.Namespace, paths: Paths) -> int:
    """Show what apply would do."""
    from dataclasses import asdict

    from skiff_device.core import desired, observe, reconcile
    from skiff_device.core import plan as planning

    loaded = reconcile.load(paths)
    if not loaded.whole:
        raise DeviceError("persist is not there: only users are looked after", "skiff-status persist")
    if loaded.error is not None:
        complain(loaded.error)
    wanted = desired.wanted(loaded.config, paths)
    made = planning.make(wanted, observe.observe(wanted, paths), reconcile.today())
    if options.json:
        print(json.dumps(asdict(made), indent=2))
    else:
        for action in made.actions:
            print(f"{action.container}: {action.text} ({action.reason})")
        for blocked in made.blocked:
            print(f"{blocked.container}: cannot go on: {blocked.text} ({blocked.hint})")
        if not made.actions and not made.blocked:
            print("nothing to do")
    if loaded.error is not None:
        return 2
    return 1 if made.blocked else 0


def status(options: argparse.Namespace, paths: Paths) -> int:
    """Show what is there."""
    from skiff_device.core import overview

    found = overview.collect(paths)
    print(json.dumps(found, indent=2) if options.json else "\n".join(overview.lines(found)))
    return 1 if found["error"] or any(one["report"] == "fail" for one in found["containers"].values()) else 0


def logs(options: argparse.Namespace, paths: Paths) -> int:
    """Show progress, or what a container writes."""
    from skiff_device.core import engine

    if options.of_container:
        engine.logs(options.of_container, options.follow)
    names = [options.name] if options.name else sorted(p.name for p in _listed(paths.logs))
    if (
        options.name
        and not (paths.containers / options.name).exists()
        and not _log(paths, options.name).exists()
    ):
        raise DeviceError(f"no container {options.name}", "skiff-core status")
    if options.follow:
        if len(names) != 1:
            raise DeviceError("which one? Name a container to follow", "skiff-core status")
        follow(_log(paths, names[0]), sys.stdout.write)
    for name in names:
        try:
            text = _log(paths, name).read_text(errors="replace")
        except OSError:
            text = ""
        for line in text.splitlines():
            print(line if options.name else f"{name}: {line}")
    return 0


def follow(path: Path, write: Callable[[str], object]) -> None:
    """Hand on a log as it grows, until interrupted; one that begins anew is shown from its start."""
    position = 0
    while True:
        try:
            with path.open(errors="replace") as file:
                size = path.stat().st_size
                if size < position:
                    position = 0
                file.seek(position)
                if text := file.read():
                    write(text)
                    sys.stdout.flush()
                position = file.tell()
        except FileNotFoundError:
            position = 0
        time.sleep(0.3)


def check(options: argparse.Namespace, paths: Paths) -> int:
    """Read a configuration and say what is wrong with it."""
    from skiff_device.core import accounts, config

    path = Path(options.file) if options.file else paths.config
    if not options.file and not path.exists():
        path = paths.seed
    found = config.read(path, accounts.reserved(paths))
    for warning in found.warnings:
        print(f"warning: {warning}")
    counts = (len(found.containers), len(found.users), len(found.images))
    print(f"{path}: good: {counts[0]} containers, {counts[1]} users, {counts[2]} images")
    return 0


def unpush(options: argparse.Namespace, paths: Paths) -> int:
    """Go back from a pushed environment to the image that the configuration names."""
    from skiff_device.core import desired, push, reconcile

    name = options.container
    if name not in reconcile.load(paths).config.containers:
        raise DeviceError(f"no container {name}", "skiff-core status")
    push.forget_branches(paths, name)
    if desired.pushed(name, paths) is None:
        print(f"nothing is pushed for {name}")
        return 0
    push.point_at(paths, name, "")
    return _ended(reconcile.apply(paths, say))


def clean(options: argparse.Namespace, paths: Paths) -> int:
    """Remove containers that were replaced."""
    from skiff_device.core import desired, engine, observe, reconcile
    from skiff_device.core import plan as planning

    with reconcile.alone(paths, say):
        loaded = reconcile.load(paths)
        if loaded.error is not None or not loaded.whole:
            raise DeviceError("nothing is removed while the configuration is not in use", "skiff-core check")
        wanted = desired.wanted(loaded.config, paths)
        names = planning.kept_aside(wanted, observe.observe(wanted, paths))
        for name in names:
            print(f"kept aside: {name}")
        if not names:
            print("nothing is kept aside")
            return 0
        if not options.yes:
            print("Remove them with all that is in them? [y/N] ", end="", flush=True)
            if sys.stdin.readline().strip().lower() not in ("y", "yes"):
                print("nothing was removed")
                return 0
        for name in names:
            engine.ask("rm", "--force", name, what=f"{name} cannot be removed")
            print(f"removed {name}")
        # What a build leaves when it takes a name over; only images of ours.
        label = f"label={desired.LABEL_SOURCE}"
        engine.ask("image", "prune", "--force", "--filter", label, what="old images cannot be removed")
    return 0


def _log(paths: Paths, name: str) -> Path:
    if "/" in name or name in ("", ".", ".."):
        raise DeviceError(f"no container {name}", "skiff-core status")
    return paths.logs / name


def _listed(folder: Path) -> list[Path]:
    return list(folder.iterdir()) if folder.is_dir() else []


def parser() -> argparse.ArgumentParser:
    """Verbs and options."""
    top = argparse.ArgumentParser(
        "skiff-core",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    verbs = top.add_subparsers(dest="verb", required=True, metavar="VERB")

    def verb(run: Callable[[argparse.Namespace, Paths], int], text: str) -> argparse.ArgumentParser:
        if text:
            added = verbs.add_parser(run.__name__, help=text, description=text)
        else:
            # In no list: it is for programs.
            added = verbs.add_parser(run.__name__)
        added.set_defaults(run=run)
        return added

    one = verb(apply, "bring containers, images and accounts to what config.yaml says")
    one.add_argument(
        "--renew", metavar="CONTAINER", help="get its image again and make it anew; the old is kept"
    )
    one.add_argument("--quiet", action="store_true", help="only say what failed")
    one = verb(plan, "show what apply would do, and why")
    one.add_argument("--json", action="store_true", help="for programs")
    one = verb(status, "show containers, images, users and what is kept aside")
    one.add_argument("--json", action="store_true", help="for programs")
    one = verb(logs, "show progress of pulling, building and making a container")
    one.add_argument("-f", "--follow", action="store_true", help="go on as it grows")
    one.add_argument(
        "--container", dest="of_container", metavar="NAME", help="what the container itself writes"
    )
    one.add_argument("name", nargs="?", metavar="CONTAINER", help="one container; else all")
    one = verb(check, "show mistakes and warnings of a configuration")
    one.add_argument("file", nargs="?", metavar="FILE", help="else the one on persist")
    # Asked for by the hook of a git push, through the service core.
    one = verb(push, "")
    one.add_argument("container")
    one.add_argument("commit")
    one.add_argument("hook", type=int)
    # Asked for by the log-in of who pushes, on a device with Crew.
    one = verb(receive, "")
    one.add_argument("container")
    one = verb(unpush, "forget what was pushed: the configuration's image counts again")
    one.add_argument("container", metavar="CONTAINER")
    one = verb(clean, "remove containers that are kept aside, after naming them")
    one.add_argument("--yes", action="store_true", help="without asking")
    return top


def main(argv: list[str] | None = None) -> int:
    """Run one verb; returns the exit status."""
    options = parser().parse_args(argv)
    # As Ctrl-C: programs that were started end too, and what was half made is put away.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        return int(options.run(options, Paths()))
    except DeviceError as error:
        complain(error)
        return 2 if isinstance(error, ConfigError) else 1
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # The reader went away, as `| head` does; nothing more to write to.
        sys.stderr.close()
        return 1
    except OSError as error:
        complain(told(error))
        return 1


if __name__ == "__main__":
    sys.exit(main())
