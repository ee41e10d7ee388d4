"""The router's configuration as text: a pure function of the sites that there are.

Reference: nginx.org/en/docs/http. Nothing comes in here that names.py and ports did not check.
"""

from __future__ import annotations

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
  # Which configuration serves: crew asks here.
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
    # Folder with server.crt and server.key; empty for plain HTTP.
    tls: str = ""
    # Plain HTTP goes to HTTPS.
    redirect: bool = False
    max_body: str = "100m"


def text(sites: list[Site], generation: str, socket: Path) -> str:
    """All of nginx.conf. socket is where it tells its generation."""
    out = [_HEAD.format(generation=generation, socket=socket)]
    for site in sites:
        out.append(_upstream(site))
        out.append(_server(site))
    for port in sorted({site.port for site in sites}):
        here = [site for site in sites if site.port == port]
        if not any(site.default for site in here):
            tls = next((site.tls for site in here if site.tls), "")
            certificate = _certificate(tls) if tls else ""
            out.append(_NOBODY.format(port=port, ssl=" ssl" if tls else "", certificate=certificate))
    return "".join(out) + "}\n"


def _name(site: Site) -> str:
    return f"{site.app}-{site.port}"


def _upstream(site: Site) -> str:
    servers = "".join(f"    server {server} max_fails=0;\n" for server in site.servers)
    return f"  upstream {_name(site)} {{\n{servers}    keepalive 8;\n  }}\n"


def _certificate(folder: str) -> str:
    return f"    ssl_certificate {folder}/server.crt;\n    ssl_certificate_key {folder}/server.key;\n"


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
    if site.redirect:
        return head + "    return 301 https://$host$request_uri;\n  }\n"
    return head + _LOCATION.format(upstream=_name(site)) + "  }\n"


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
