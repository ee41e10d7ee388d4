"""The router's configuration as text: a pure function of the sites that there are.

Reference: nginx.org/en/docs/http. Values are words of a few kinds, looked at once more here (`unsound`):
whatever way a setting came in, none of them can say something else to nginx.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

_HEAD = """\
# Written by crew; changes are lost. See crew ports:list and domains:report.
worker_processes 1;
pid nginx.pid;
error_log stderr warn;
events {{ worker_connections 1024; }}
http {{
  access_log off;
  server_tokens off;
  client_body_temp_path tmp/body;
  proxy_temp_path tmp/proxy;
  fastcgi_temp_path tmp/fastcgi;
  uwsgi_temp_path tmp/uwsgi;
  scgi_temp_path tmp/scgi;
  server_names_hash_bucket_size 256;
  # Uploads go on to the app as they come: nothing of them is kept in RAM here.
  proxy_request_buffering off;
  proxy_max_temp_file_size 0;
  map $http_upgrade $connection_upgrade {{ default upgrade; "" ""; }}
  # Which configuration serves, and on which ports: crew asks here.
  server {{ listen unix:{socket}; return 200 "{generation}"; }}
"""
_NOBODY = """\
  server {{
    listen {port} default_server{ssl};
    listen [::]:{port} default_server{ssl};
    server_name _;
{certificate}    default_type text/plain;
    return 404 "There is no app of this name here.\\n";
  }}
"""


class Site(NamedTuple):
    """What one app publishes on one port of the device. servers are `address:port`."""

    app: str
    port: int
    names: tuple[str, ...]
    servers: tuple[str, ...]
    # Answers for names that no site has.
    default: bool = False
    # File with chain and key; empty for plain HTTP.
    tls: str = ""
    # Plain HTTP goes to HTTPS, which is on that port.
    redirect: bool = False
    https: int = 443
    max_body: str = "100m"
    # Proofs for an authority (HTTP-01) are answered before the app is asked.
    proofs: bool = False
    # Its server is a port of the cluster: each connection comes to another container, on some device.
    clustered: bool = False


# Containers of a cluster that one request may try.
_TRIES = 3
_APP = re.compile(r"[a-z0-9-]{1,40}")
_NAME = re.compile(r"(?:\*\.)?[A-Za-z0-9_.-]{1,253}")
_SERVER = re.compile(r"[0-9]{1,3}(?:\.[0-9]{1,3}){3}:[0-9]{1,5}")
_SIZE = re.compile(r"[0-9]{1,6}[kmg]?")
_PATH = re.compile(r"[A-Za-z0-9_./-]*")


def unsound(site: Site) -> str:
    """Why a site cannot be written; empty when all of it is as it should be."""
    kinds = [
        (_APP, site.app), (_SIZE, site.max_body), (_PATH, site.tls),
        *((_NAME, name) for name in site.names), *((_SERVER, server) for server in site.servers),
    ]  # fmt: skip
    wrong = next((text for pattern, text in kinds if not pattern.fullmatch(text)), None)
    if wrong is None and site.servers and all(0 < port < 65536 for port in (site.port, site.https)):
        return ""
    return f"{wrong!r} is not what the router takes" if wrong is not None else "nothing to lead to"


def text(sites: list[Site], generation: str, socket: Path) -> str:
    """All of nginx.conf. socket is where it tells its generation, and the ports after it."""
    ports = sorted({site.port for site in sites})
    out = [_HEAD.format(generation=" ".join(map(str, (generation, *ports))), socket=socket)]
    for site in sites:
        out.append(_upstream(site))
        out.append(_server(site))
    for port in ports:
        here = [site for site in sites if site.port == port]
        if not any(site.default for site in here):
            tls = next((site.tls for site in here if site.tls), "")
            certificate = _certificate(tls) if tls else ""
            out.append(_NOBODY.format(port=port, ssl=" ssl" if tls else "", certificate=certificate))
    return "".join(out) + "}\n"


def _name(site: Site) -> str:
    return f"{site.app}-{site.port}"


def _upstream(site: Site) -> str:
    # One that does not answer is followed by another; a connection that is kept would end with its device.
    listed = site.servers * _TRIES if site.clustered else site.servers
    servers = "".join(f"    server {server} max_fails=0;\n" for server in listed)
    kept = "" if site.clustered else "    keepalive 8;\n"
    return f"  upstream {_name(site)} {{\n{servers}{kept}  }}\n"


def _certificate(file: str) -> str:
    return f"    ssl_certificate {file};\n    ssl_certificate_key {file};\n"


def _server(site: Site) -> str:
    ssl = " ssl" if site.tls else ""
    default = " default_server" if site.default else ""
    lines = [
        f"    listen {site.port}{default}{ssl};",
        f"    listen [::]:{site.port}{default}{ssl};",
        f"    server_name {' '.join(site.names) or '_'};",
        f"    client_max_body_size {site.max_body};",
    ]
    head = "  server {\n" + "\n".join(lines) + "\n" + (_certificate(site.tls) if site.tls else "")
    head += _PROOFS if site.proofs else ""
    head += _SOON if site.clustered else ""
    if site.redirect:
        place = "$host" if site.https == 443 else f"$host:{site.https}"
        return head + _REDIRECT.format(place=place) + "  }\n"
    return head + _LOCATION.format(upstream=_name(site)) + "  }\n"


_PROOFS = """\
    location ^~ /.well-known/acme-challenge/ { alias acme/; }
"""
_SOON = """\
    proxy_connect_timeout 3s;
"""
_REDIRECT = """\
    location / {{ return 301 https://{place}$request_uri; }}
"""
_LOCATION = """\
    location / {{
      proxy_pass http://{upstream};
      proxy_http_version 1.1;
      proxy_set_header Host $http_host;
      proxy_set_header Upgrade $http_upgrade;
      proxy_set_header Connection $connection_upgrade;
      proxy_set_header X-Real-IP $remote_addr;
      proxy_set_header X-Forwarded-For $remote_addr;
      proxy_set_header X-Forwarded-Proto $scheme;
      proxy_set_header X-Forwarded-Port $server_port;
      proxy_read_timeout 300s;
      proxy_buffering off;
    }}
"""
