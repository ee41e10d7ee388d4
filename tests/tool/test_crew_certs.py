"""Certificates: what is given, made and fetched, and what the router's configuration becomes."""

from __future__ import annotations

import io
import json
import shutil
import socket
import subprocess
import tarfile
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from skiff_device.crew import acme, certs, crontab, nginx_conf, restore, router, store
from skiff_device.crew.command import Caller
from skiff_device.crew.nginx_conf import Site
from tests.tool import acme_server
from tests.tool.crew_device import CrewDevice

DEPLOYER = Caller("anna", "deploy", ("app",))
READER = Caller("eve", "read")
SITE = Site("app", 80, ("a.example.org",), ("172.30.0.11:5000",))


def openssl(*words: str, stdin: str = "") -> str:
    """What openssl answers."""
    return subprocess.run(["openssl", *words], input=stdin, capture_output=True, text=True, check=True).stdout


@pytest.fixture(scope="module")
def given() -> tuple[str, str]:
    """A certificate and its key."""
    key = openssl("genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256")
    folder = Path(subprocess.run(["mktemp", "-d"], capture_output=True, text=True, check=True).stdout.strip())
    (folder / "key").write_text(key)
    words = ["req", "-x509", "-new", "-key", str(folder / "key"), "-subj", "/CN=a", "-days", "90"]
    chain = openssl(*words, "-addext", "subjectAltName=DNS:a.example.org")
    shutil.rmtree(folder)
    return chain, key


def tar(**files: str) -> bytes:
    """A tar of files; `__` stands for a dot."""
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w") as archive:
        for name, text in files.items():
            info = tarfile.TarInfo(name.replace("__", "."))
            info.size = len(text)
            archive.addfile(info, io.BytesIO(text.encode()))
    return data.getvalue()


@pytest.fixture
def web(crew: CrewDevice) -> CrewDevice:
    crew.app("app", web=None)
    assert crew.run("domains:set", "app", "a.example.org").status == 0
    return crew


def conf(crew: CrewDevice) -> str:
    """The router's configuration."""
    return (crew.paths.run / "router/nginx.conf").read_text()


def test_a_given_certificate_serves_and_http_leads_to_it(web: CrewDevice, given: tuple[str, str]) -> None:
    chain, key = given
    sent = tar(server__crt=chain, server__key=key)
    assert web.run("certs:add", "app", stdin=sent, caller=DEPLOYER).status == 0
    file = web.paths.certs / "app/server.pem"
    assert file.stat().st_mode & 0o777 == 0o600 and file.read_text() == chain + key
    assert f"ssl_certificate {file};" in conf(web) and "listen 443 ssl;" in conf(web)
    assert "return 301 https://$host$request_uri;" in conf(web)
    rows = json.loads(web.run("certs:report", "--json", "app", caller=READER).out)
    assert (rows["domains"], rows["issuer"], rows["letsencrypt"]) == (["a.example.org"], "CN=a", False)
    assert rows["ends"] > rows["begins"]
    assert "https://a.example.org" in web.run("domains:report", "app").text
    assert web.run("certs:remove", "app").status == 0
    assert "listen 443" not in conf(web) and not file.exists()
    assert "app: certs:add" in web.events() and "app: certs:remove" in web.events()


def test_a_certificate_may_come_as_text(web: CrewDevice, given: tuple[str, str]) -> None:
    chain, key = given
    for text in (key + chain, chain + "\n" + key, (chain + key).replace("\n", "\r\n")):
        assert web.run("certs:update", "app", stdin=text.encode()).status == 0
    assert (web.paths.certs / "app/server.pem").read_text() == chain + key


def test_what_is_no_certificate_with_its_key_is_refused(web: CrewDevice, given: tuple[str, str]) -> None:
    chain, key = given
    other = openssl("genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256")
    locked = openssl("pkey", "-aes128", "-passout", "pass:x", stdin=key)
    broken = chain.replace(chain.splitlines()[2], "A" * 64)
    link = io.BytesIO()
    with tarfile.open(fileobj=link, mode="w") as archive:
        info = tarfile.TarInfo("server.key")
        info.type, info.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(info)
    for sent in (
        b"", b"\0" * 5000, b"x" * 5000, b"\xff" * 3_000_000, chain.encode(), key.encode(),
        (chain + other).encode(), (chain + locked).encode(), (broken + key).encode(),
        (chain + key + other).encode(), link.getvalue(), tar(server__crt=chain),
        tar(server__crt=chain, server__key=other), tar(server__txt=chain + key),
        b"-----BEGIN CERTIFICATE-----\n; } include /etc/passwd;\n-----END CERTIFICATE-----\n" + key.encode(),
    ):  # fmt: skip
        done = web.run("certs:add", "app", stdin=sent)
        assert done.status == 1 and len(done.err.splitlines()) == 2, done.err
    assert not (web.paths.certs / "app/server.pem").exists() and "certs:add" not in web.events()


def test_one_that_the_router_does_not_take_leaves_the_old_one(
    web: CrewDevice, given: tuple[str, str]
) -> None:
    chain, key = given
    web.run("certs:generate", "app")
    before = (web.paths.certs / "app/server.pem").read_text()
    (web.bin / "refuse").write_text("listen 443")
    done = web.run("certs:add", "app", stdin=(chain + key).encode())
    assert done.status == 1 and "does not take it" in done.err
    assert (web.paths.certs / "app/server.pem").read_text() == before


def test_a_certificate_for_tests_can_be_made(web: CrewDevice) -> None:
    assert web.run("certs:generate", "app", "*.example.org", "b.example.org", caller=DEPLOYER).status == 0
    found = certs.info(web.paths, "app")
    assert found is not None and found.domains == ("*.example.org", "b.example.org")
    for word in ("a,DNS:b", "a\nb", "$(id)", "a/b", "-x509"):
        assert web.run("certs:generate", "app", "--", word).status == 1
    assert certs.info(web.paths, "app") == found
    assert "may not use" in web.run("certs:generate", "app", caller=READER).err


def test_a_certificate_goes_with_its_app(crew: CrewDevice) -> None:
    crew.app("app")
    crew.run("certs:generate", "app", "a.example.org")
    assert crew.run("apps:rename", "app", "new").status == 0
    assert certs.info(crew.paths, "new") is not None and certs.info(crew.paths, "app") is None
    assert crew.run("apps:destroy", "--force", "new").status == 0
    crew.app("new")
    assert certs.info(crew.paths, "new") is None


# What reaches the router


@pytest.mark.parametrize(
    "site",
    [
        SITE._replace(names=("a; } include /etc/passwd; #",)), SITE._replace(names=("a b",)),
        SITE._replace(names=("a\nb",)), SITE._replace(names=("~.*",)), SITE._replace(names=("",)),
        SITE._replace(app="a;b"), SITE._replace(app="a\n"), SITE._replace(max_body="1m; deny all"),
        SITE._replace(max_body="٣"), SITE._replace(max_body=""),
        SITE._replace(servers=("unix:/run/docker.sock",)),
        SITE._replace(servers=("1.2.3.4:5; }",)), SITE._replace(servers=()), SITE._replace(tls="/x; }"),
        SITE._replace(port=0), SITE._replace(port=70000),
    ],
)  # fmt: skip
def test_no_value_says_something_else_to_nginx(site: Site) -> None:
    assert nginx_conf.unsound(site)
    assert not nginx_conf.unsound(SITE)


def test_an_app_with_such_a_setting_is_left_out_and_the_others_serve(web: CrewDevice) -> None:
    web.app("other", web=None)
    evil = "x; } server { listen 80; location / { root /; } }"
    store.change(web.paths, "app", "domains", lambda section: section.update(names=[evil]))
    done = web.run("domains:set", "other", "other.example.org")
    assert "app: the router leaves it out" in done.err
    assert "other.example.org" in conf(web) and evil not in conf(web)


def test_what_another_program_has_keeps_nobody_else_from_being_served(
    web: CrewDevice, capsys: pytest.CaptureFixture[str]
) -> None:
    web.app("other", web=None)
    with socket.create_server(("", 0)) as program:
        port = program.getsockname()[1]
        store.change(web.paths, "app", "ports", lambda section: section.update(map=[["http", port, 5000]]))
        done = web.run("domains:set", "other", "other.example.org")
        restore.restore(web.paths)
    for told in (done.err, capsys.readouterr().err):
        assert f"app: the router leaves it out: another program has port {port}" in told
    assert "other.example.org" in conf(web) and f"listen {port}" not in conf(web)


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6])
def test_a_port_that_another_program_has_is_refused(web: CrewDevice, family: socket.AddressFamily) -> None:
    web.run("ports:set", "app", "http:81:5000")
    before, served = store.section(web.paths, "app", "ports"), conf(web)
    with socket.create_server(("", 0), family=family) as program:
        for command in ("ports:set", "ports:add"):
            done = web.run(command, "app", f"http:{program.getsockname()[1]}:5000")
            assert done.status == 1 and "another program has port" in done.err
    assert store.section(web.paths, "app", "ports") == before and conf(web) == served


def test_what_the_router_listens_on_is_its_own(web: CrewDevice) -> None:
    with socket.create_server(("", 0)) as program:
        port = program.getsockname()[1]
    web.run("ports:set", "app", f"http:{port}:5000")
    # As nginx does now.
    with socket.create_server(("", port)):
        assert web.run("domains:set", "app", "b.example.org").err == ""
        assert web.run("ports:set", "app", "http:81:5000", f"http:{port}:5000").status == 0
    assert f"listen {port};" in conf(web) and "b.example.org" in conf(web)


def test_an_nginx_in_a_container_is_not_the_router(web: CrewDevice, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(router, "_LONGEST", 0.5)

    def worker(pid: int, parent: int) -> None:
        folder = web.paths.root / f"proc/{pid}"
        folder.mkdir(parents=True)
        (folder / "cmdline").write_bytes(b"nginx: worker process\0\0")
        (folder / "stat").write_text(f"{pid} (nginx) S {parent} 1 1\n")

    (web.paths.run / "router/nginx.pid").write_text("7\n")
    for pid, parent in ((8, 7), (20, 19), (21, 19)):
        worker(pid, parent)
    assert web.run("domains:set", "app", "b.example.org").status == 0
    # Two of its own: the older one takes connections still.
    worker(9, 7)
    assert "does not come up" in web.run("domains:set", "app", "c.example.org").err


@pytest.mark.parametrize("value", ["1m; deny all", "1m\n", "9" * 9, "-1", "1t", "$x", "٣m"])
def test_proxy_settings_are_of_their_kind(web: CrewDevice, value: str) -> None:
    assert web.run("proxy:set", "app", "max-body", value).status == 1


def test_proxy_settings_are_reported(web: CrewDevice) -> None:
    before = json.loads(web.run("proxy:report", "--json", "app").text)
    assert (before["max-body"], before["https-redirect"]) == ("100m", True)
    web.run("proxy:set", "app", "max-body", "1k")
    web.run("proxy:set", "app", "https-redirect", "off")
    after = json.loads(web.run("proxy:report", "--json", "app").text)
    assert (after["max-body"], after["https-redirect"]) == ("1k", False)


def test_real_nginx_takes_the_configuration(tmp_path: Path, given: tuple[str, str]) -> None:
    program = shutil.which("nginx")
    if program is None:
        pytest.skip("needs the program nginx (package nginx)")
    pem = tmp_path / "server.pem"
    pem.write_text(given[0] + given[1])
    (tmp_path / "tmp").mkdir()
    sites = [
        SITE._replace(port=18080, redirect=True, proofs=True),
        SITE._replace(port=18443, tls=str(pem)),
        SITE._replace(app="other", port=18080, names=("*.example.net",), proofs=True),
    ]
    (tmp_path / "nginx.conf").write_text(nginx_conf.text(sites, "1", tmp_path / "router.sock"))
    words = ["-t", "-q", "-e", "stderr", "-p", f"{tmp_path}/", "-c", "nginx.conf"]
    done = subprocess.run([program, *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


# Let's Encrypt


@pytest.fixture
def authority(web: CrewDevice) -> Iterator[acme_server.Authority]:
    """A real ACME server, which looks for proofs where the router has them."""
    acme_server.needed()
    made = acme_server.Authority(web.paths.root / "authority", web.paths.run / "router/acme")
    web.put_acme_client(acme_server.CLIENT)
    assert web.run("letsencrypt:set", "--global", "server", made.directory).status == 0
    yield made
    made.close()


def test_a_certificate_is_fetched_and_renewed(
    web: CrewDevice, authority: acme_server.Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.certificate))
    # The image has none.
    monkeypatch.setenv("OPENSSL_CONF", "/nowhere")
    web.run("domains:set", "app", "a.example.org", "b.example.org")
    done = web.run("letsencrypt:enable", "app", caller=DEPLOYER)
    assert done.status == 0, done.err
    found = certs.info(web.paths, "app")
    assert found is not None and set(found.domains) == {"a.example.org", "b.example.org"}
    assert "Pebble" in found.issuer
    assert "location ^~ /.well-known/acme-challenge/" in conf(web) and "listen 443 ssl" in conf(web)
    assert list((web.paths.run / "router/acme").iterdir()) == []
    table = (web.paths.run / "crontab").read_text()
    assert table.endswith("crew letsencrypt:auto-renew 2>&1 | logger -t crew-cron\n")
    # A device that is on for some hours of the day has one of these.
    assert len(table.split()[1].split(",")) == 8
    assert web.run("letsencrypt:list", caller=READER).text.startswith("app  20")
    before = certs.path(web.paths, "app").read_text()
    assert web.run("letsencrypt:auto-renew").status == 0
    assert certs.path(web.paths, "app").read_text() == before
    assert web.run("letsencrypt:auto-renew", "--force", "app").status == 0
    assert certs.path(web.paths, "app").read_text() != before
    web.run("domains:set", "app", "c.example.org")
    assert web.run("letsencrypt:auto-renew").status == 0
    renewed = certs.info(web.paths, "app")
    assert renewed is not None and renewed.domains == ("c.example.org",)
    assert "letsencrypt's" in web.run("certs:add", "app").err
    assert web.run("letsencrypt:disable", "app").status == 0
    assert certs.info(web.paths, "app") is None and not (web.paths.run / "crontab").exists()


def test_a_proof_that_is_not_found_changes_nothing(
    web: CrewDevice, authority: acme_server.Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.certificate))
    authority.lose_proofs()
    done = web.run("letsencrypt:enable", "app")
    assert done.status == 1 and "no certificate: " in done.err and len(done.err.splitlines()) == 3, done.err
    # All that the authority says, to its end.
    assert "404" in done.err and "…" not in done.err
    assert web.run("letsencrypt:active", "app").status == 1
    assert "acme-challenge" not in conf(web) and certs.info(web.paths, "app") is None


def test_what_cannot_be_proved_is_not_asked_for(web: CrewDevice) -> None:
    web.run("certs:generate", "app")
    assert "certs:remove" in web.run("letsencrypt:enable", "app").err
    web.run("certs:remove", "app")
    web.run("domains:set", "app", "*.example.org")
    assert "wildcards" in web.run("letsencrypt:enable", "app").err
    web.run("domains:clear", "app")
    assert "no domain" in web.run("letsencrypt:enable", "app").err
    web.run("domains:set", "app", "a.example.org")
    web.run("ports:set", "app", "http:8080:5000")
    assert "port 80" in web.run("letsencrypt:enable", "app").err
    assert acme.enabled(web.paths) == []


@pytest.mark.parametrize(
    "word",
    [
        "http://x",
        "https://a b",
        "https://x\n",
        "file:///etc/passwd",
        "--ca=x",
        "https://",
        "x",
        "https://x/$(id)",
    ],
)
def test_what_is_no_authority_is_refused(web: CrewDevice, word: str) -> None:
    assert web.run("letsencrypt:set", "--global", "server", "--", word).status == 1
    assert store.section(web.paths, None, acme.SECTION) == {}


def test_the_authority_is_the_admins_to_choose(web: CrewDevice) -> None:
    assert "may not use" in web.run("letsencrypt:set", "app", "server", "staging", caller=DEPLOYER).err
    assert web.run("letsencrypt:set", "app", "server", "staging").status == 0
    assert "staging" in acme.server_of(web.paths, "app")
    assert web.run("letsencrypt:set", "app", "server").status == 0
    assert acme.server_of(web.paths, "app") == acme.SERVERS["production"]


def test_a_certificate_is_due_in_its_last_third(web: CrewDevice, given: tuple[str, str]) -> None:
    web.run("certs:add", "app", stdin="".join(given).encode())
    found = certs.info(web.paths, "app")
    assert found is not None
    for part, due in ((0.5, False), (0.7, True), (1.5, True)):
        now = datetime.fromtimestamp(
            found.begins.timestamp() + (found.ends - found.begins).total_seconds() * part, UTC
        )
        assert acme.is_due(web.paths, "app", now) is due


def test_without_such_apps_no_job_renews(web: CrewDevice) -> None:
    crontab.write(web.paths)
    assert not (web.paths.run / "crontab").exists()
