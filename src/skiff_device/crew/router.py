"""The HTTP router: web apps share ports 80 and 443 by name.

Its configuration follows from what all apps have set and from the releases that serve. A change is a graceful
reload: new connections see the new configuration, those under way end as they began.
"""

from __future__ import annotations

import errno
import socket
import time
from collections.abc import Callable, Collection
from contextlib import suppress
from pathlib import Path
from typing import Any

from skiff_device.common import run
from skiff_device.common.errors import DeviceError
from skiff_device.common.files import write_atomically
from skiff_device.crew import nginx_conf, service, store
from skiff_device.crew import release as releases
from skiff_device.crew.http_unix import Connection
from skiff_device.crew.nginx_conf import Site
from skiff_device.crew.paths import Paths

Say = Callable[[str], None]
SERVICE = "crew-router"
# What Dokku tells an app whose image names no port.
DEFAULT_PORT = 5000
MAX_BODY = "100m"
# In seconds, for nginx to read a configuration on a slow device.
_LONGEST = 60.0
_PAUSE = 0.05
# Titles of nginx's workers: of one that takes connections, and of one that may be ending as well.
_SERVES = b"nginx: worker process\0"
_ANY = b"nginx: worker process"


def container_port(paths: Paths, app: str, exposed: tuple[int, ...]) -> int:
    """The port that the app's web process should listen on, which it finds in PORT."""
    given = _map(paths, app)
    if given:
        return given[0][2]
    return exposed[0] if exposed else DEFAULT_PORT


def targets(paths: Paths, app: str, exposed: tuple[int, ...]) -> list[tuple[str, int, int]]:
    """What is published: scheme (http or https), port of the device, port of the container."""
    if store.section(paths, app, "proxy").get("disabled"):
        return []
    return _map(paths, app) or [("http", 80, container_port(paths, app, exposed))]


def _map(paths: Paths, app: str) -> list[tuple[str, int, int]]:
    listed = store.section(paths, app, "ports").get("map", [])
    return [(str(scheme), int(host), int(inside)) for scheme, host, inside in listed]


def domains(paths: Paths, app: str) -> list[str]:
    """Names that the app answers to: as set, else one below the device's own."""
    section = store.section(paths, app, "domains")
    if section.get("disabled"):
        return []
    return list(section.get("names", [])) or [f"{app}{below_device()}"]


def below_device() -> str:
    """What follows an app's name in the one that it has without any that was set."""
    return f".{socket.gethostname()}.local"


def urls(paths: Paths, app: str) -> list[str]:
    """Where the app is to be found."""
    release = releases.current(paths, app)
    if release is None or not (release.port or any(one.process == "web" for one in release.containers)):
        return []
    found = []
    for scheme, port, _ in published(paths, app, release.exposed):
        usual = (scheme, port) in (("http", 80), ("https", 443))
        for name in domains(paths, app) or [f"{socket.gethostname()}.local"]:
            found.append(f"{scheme}://{name}{'' if usual else f':{port}'}")
    return found


def has_certificate(paths: Paths, app: str) -> bool:
    """Whether there is one for an app."""
    return (paths.certs / app / "server.pem").exists()


def published(paths: Paths, app: str, exposed: tuple[int, ...]) -> list[tuple[str, int, int]]:
    """What really is: HTTPS only with a certificate, and with one always."""
    wanted = targets(paths, app, exposed)
    if not has_certificate(paths, app):
        return [one for one in wanted if one[0] == "http"]
    if wanted and not any(scheme == "https" for scheme, _, _ in wanted):
        return [*wanted, ("https", 443, wanted[0][2])]
    return wanted


def sites(paths: Paths) -> tuple[list[Site], dict[str, str]]:
    """Every site of every app that serves: this device's own, and on a cluster those of other managers.

    And the apps whose files are damaged, with the reason: none keeps others from being served.
    """
    found, damaged = own_sites(paths)
    if (paths.run / "sites").exists():
        from skiff_device.crew import cluster_sites

        found += cluster_sites.of_others(paths)
    return found, damaged


def own_sites(paths: Paths) -> tuple[list[Site], dict[str, str]]:
    """Every site of the apps of this device that serve, and the apps that cannot be read."""
    found: list[Site] = []
    damaged: dict[str, str] = {}
    for app in store.apps(paths):
        try:
            found += _sites_of(paths, app)
        except DeviceError as error:
            damaged[app] = error.message
    return _defaults(paths, found), damaged


def _sites_of(paths: Paths, app: str) -> list[Site]:
    release = releases.current(paths, app)
    if release is None or store.section(paths, app, "ps").get("stopped"):
        return []
    web = [one for one in release.containers if one.process == "web"]
    if not web and not release.port:
        return []
    tls = str(paths.certs / app / "server.pem") if has_certificate(paths, app) else ""
    proxy = store.section(paths, app, "proxy")
    proofs = bool(store.section(paths, app, "letsencrypt").get("enabled"))
    listed = published(paths, app, release.exposed)
    # There is one with a certificate, on 443 where nothing else was said.
    https = {port for scheme, port, _ in listed if scheme == "https"}
    return [
        Site(
            app,
            port,
            tuple(domains(paths, app)),
            tuple(f"{one.address}:{inside}" for one in web) or (f"127.0.0.1:{release.port}",),
            tls=tls if scheme == "https" else "",
            redirect=bool(https) and scheme == "http" and not proxy.get("no_redirect"),
            https=443 if 443 in https else min(https, default=443),
            max_body=str(proxy.get("max_body", MAX_BODY)),
            proofs=proofs and scheme == "http",
            clustered=not web,
        )
        for scheme, port, inside in listed
    ]


def _defaults(paths: Paths, found: list[Site]) -> list[Site]:
    """Who answers for unknown names: the only web app, or one without domains."""
    result = []
    for site in found:
        alone = {other.app for other in found if other.port == site.port} == {site.app}
        first = next((o for o in found if o.port == site.port and not o.names), None)
        given = bool(store.section(paths, site.app, "domains").get("names"))
        result.append(site._replace(default=site is first or (first is None and alone and not given)))
    return result


def apply(paths: Paths, say: Say | None = None, wait: bool = True) -> dict[str, str]:
    """Bring the router to what the apps ask for; comes back when that serves. Raises DeviceError.

    Returns the apps that it leaves out, or ports of theirs, and why: none keeps others from being served.
    """
    with store.alone(paths, "router"):
        found, damaged = sites(paths)
        wanted, bad = _sound(found)
        bad |= damaged
        if wanted:
            bad |= _serve(paths, wanted, wait)
        elif (paths.run / "router/nginx.conf").exists():
            (paths.run / "router/nginx.conf").unlink()
            # Started again, it finds nothing to do, says so and goes down.
            service.control(paths, SERVICE, b"t")
    for app in sorted(bad):
        if say is not None:
            say(f"{app}: the router leaves it out: {bad[app]}")
    if (paths.crew / "cluster/interface").exists():
        from skiff_device.crew import cluster_sites

        cluster_sites.tell(paths)
    return bad


def _serve(paths: Paths, wanted: list[Site], wait: bool) -> dict[str, str]:
    """Have the router serve these; returns apps that it does not take, and why."""
    folder = paths.run / "router"
    (folder / "tmp").mkdir(parents=True, exist_ok=True)
    generation = str(time.time_ns())
    busy = taken(paths, _ports(wanted))
    bad = {site.app: f"another program has port {site.port}" for site in wanted if site.port in busy}
    # Nobody is sent to another program.
    served = [
        site._replace(redirect=site.redirect and site.https not in busy)
        for site in wanted
        if site.port not in busy
    ]
    bad |= _write(folder, served, generation)
    service.control(paths, SERVICE, b"uh" if _answer(folder) else b"u")
    if wait:
        _await(paths, folder, generation)
    return bad


def _sound(wanted: list[Site]) -> tuple[list[Site], dict[str, str]]:
    """Sites whose every word is of its kind, and apps that have others: settings may come from a backup."""
    bad = {site.app: reason for site in wanted if (reason := nginx_conf.unsound(site))}
    # To nginx HTTPS is a matter of the port, whoever has it: plain HTTP stays so, but on HTTPS's own.
    schemes = {port: {_scheme(site) for site in wanted if site.port == port} for port in _ports(wanted)}
    for site in wanted:
        usual = "https" if site.port == 443 else "http"
        if len(schemes[site.port]) > 1 and _scheme(site) != usual:
            bad.setdefault(site.app, f"port {site.port} is another app's for {usual}")
    return [site for site in wanted if site.app not in bad], bad


def _scheme(site: Site) -> str:
    """`http` or `https`."""
    return "https" if site.tls else "http"


def _ports(wanted: list[Site]) -> set[int]:
    return {site.port for site in wanted}


def _write(folder: Path, wanted: list[Site], generation: str) -> dict[str, str]:
    """Put a configuration in place that nginx takes; returns apps that it does not, and why."""
    bad: dict[str, str] = {}
    socket = folder / "router.sock"
    text = nginx_conf.text(wanted, generation, socket)
    if _refused(folder, text):
        # One may be wrong by itself or beside others: each comes to those that are taken already.
        kept: list[Site] = []
        text = nginx_conf.text(kept, generation, socket)
        if reason := _refused(folder, text):
            raise DeviceError(
                f"the router does not take its configuration: {reason}", "less /run/log/messages"
            )
        for app in sorted({site.app for site in wanted}):
            more = kept + [site for site in wanted if site.app == app]
            if reason := _refused(folder, with_it := nginx_conf.text(more, generation, socket)):
                bad[app] = reason
            else:
                kept, text = more, with_it
    write_atomically(folder / "nginx.conf", text, 0o600)
    return bad


def _refused(folder: Path, text: str) -> str:
    """Why nginx does not take a configuration; empty when it does."""
    trial = folder / "trial.conf"
    write_atomically(trial, text, 0o600)
    done = run.capture(["nginx", "-t", "-q", "-e", "stderr", "-p", f"{folder}/", "-c", "trial.conf"])
    trial.unlink(missing_ok=True)
    lines = [line for line in done.err.splitlines() if "[emerg]" in line]
    return "" if done.status == 0 else (lines or [done.err.strip() or "no reason given"])[0][-300:]


def taken(paths: Paths, ports: Collection[int]) -> set[int]:
    """Those ports that another program of the device listens on: nginx's own trial does not tell."""
    own = _answer(paths.run / "router")[1:]
    return {port for port in ports if str(port) not in own and _is_in_use(port)}


def _is_in_use(port: int) -> bool:
    for family in (socket.AF_INET, socket.AF_INET6):
        try:
            with socket.socket(family) as trial:
                # As nginx has its own.
                trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                if family is socket.AF_INET6:
                    trial.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                trial.bind(("", port))
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                return True
    return False


def _answer(folder: Path) -> list[str]:
    """Which configuration answers, and its ports; empty when nobody does."""
    # One that is slow is not to be taken for none: its ports would be another program's.
    connection = Connection(folder / "router.sock", timeout=_LONGEST)
    try:
        connection.request("GET", "/")
        return connection.getresponse().read().decode(errors="replace").split()
    except (DeviceError, OSError, ValueError):
        return []
    finally:
        connection.close()


def _await(paths: Paths, folder: Path, generation: str) -> None:
    end = time.monotonic() + _LONGEST
    # Its predecessor takes connections until it knows that it is one.
    while _answer(folder)[:1] != [generation] or _workers(paths, _SERVES) > 1:
        if time.monotonic() > end:
            raise DeviceError("the router does not come up", "sv status crew-router; less /run/log/messages")
        time.sleep(_PAUSE)


def drained(paths: Paths, timeout: float) -> None:
    """Wait until no worker of an older configuration has connections; at most that many seconds."""
    end = time.monotonic() + timeout
    while time.monotonic() < end and _workers(paths, _ANY) > 1:
        time.sleep(_PAUSE)


def _workers(paths: Paths, title: bytes) -> int:
    """How many workers of the router there are whose title begins so; containers may have an nginx, too."""
    count = 0
    for path in (paths.root / "proc").glob("[0-9]*/cmdline"):
        # A process may end while it is looked at.
        with suppress(OSError):
            if path.read_bytes().startswith(title):
                master = (paths.run / "router/nginx.pid").read_text().strip()
                # Its parent, after a name in brackets that may hold anything (proc(5)).
                count += path.with_name("stat").read_text().rpartition(")")[2].split()[1] == master
    return count


def settings(paths: Paths, app: str) -> dict[str, Any]:
    """What the reports show."""
    release = releases.current(paths, app)
    exposed = release.exposed if release is not None else ()
    proxy = store.section(paths, app, "proxy")
    return {
        "domains": domains(paths, app),
        "ports": [f"{scheme}:{host}:{inside}" for scheme, host, inside in targets(paths, app, exposed)],
        "proxy": not proxy.get("disabled"),
        "max-body": str(proxy.get("max_body", MAX_BODY)),
        "https-redirect": not proxy.get("no_redirect"),
        "certificate": has_certificate(paths, app),
        "urls": urls(paths, app),
    }
