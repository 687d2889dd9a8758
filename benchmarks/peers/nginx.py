"""The proxy nginx in front of the departments: `grpc_pass`, mutual TLS on both sides, routing by header.

Set up for speed: connections upstream are kept (nginx has one call on each at a time), none is given up for its age,
bodies stay in memory, and nothing is logged. Source: nginx's reference of ngx_http_grpc_module and ngx_http_v2_module.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from benchmarks.peers.calls import HEADER
from benchmarks.peers.place import HOST
from benchmarks.peers.proxies import Setup, running
from benchmarks.processes import children_of

MISSING = "not measured: it is not installed here; on Debian: apt-get install nginx-light"


def find_nginx() -> str | None:
    """The program, or None; Debian keeps it where only root looks."""
    return shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")


def version(program: str) -> str:
    """Of the program."""
    said = subprocess.run([program, "-v"], capture_output=True, text=True, check=True).stderr
    return said.strip().rpartition("/")[2]


@asynccontextmanager
async def nginx(program: str, setup: Setup) -> AsyncIterator[tuple[int, ...]]:
    """The proxy with `setup.threads` worker processes; the ids of all its processes."""
    file = setup.folder / "nginx.conf"
    file.write_text(configuration(setup), encoding="utf-8")
    command = [program, "-p", str(setup.folder), "-e", str(setup.folder / "error.log"), "-c", str(file)]
    async with running(command, setup) as pid:
        yield (pid, *children_of(pid))


def configuration(setup: Setup) -> str:
    """The whole file."""
    certificate, key, ca = setup.tls.certificate, setup.tls.key, setup.tls.ca
    upstreams = "".join(
        f"""
    upstream {item.name} {{
        server {HOST}:{item.port};
        keepalive 1024;
        keepalive_requests 1000000;
        keepalive_time 1h;
    }}"""
        for item in setup.upstreams.values()
    )
    names = "".join(f"\n        {item.name} {item.dns_name};" for item in setup.upstreams.values())
    known = "".join(f"\n        {item.name} {item.name};" for item in setup.upstreams.values())
    header = HEADER.replace("-", "_")
    return f"""daemon off;
worker_processes {setup.threads};
worker_rlimit_nofile 8192;
pid nginx.pid;
events {{
    worker_connections 4096;
}}
http {{
    access_log off;
    client_body_temp_path temp;
    proxy_temp_path temp;
    fastcgi_temp_path temp;
    uwsgi_temp_path temp;
    scgi_temp_path temp;
{upstreams}
    map $http_{header} $department {{{known}
    }}
    map $http_{header} $department_name {{{names}
    }}
    server {{
        listen {HOST}:{setup.port} ssl http2;
        http2_max_concurrent_streams 1024;
        keepalive_requests 1000000;
        keepalive_time 1h;
        ssl_protocols TLSv1.3;
        ssl_certificate {certificate};
        ssl_certificate_key {key};
        ssl_client_certificate {ca};
        ssl_verify_client on;
        client_body_buffer_size 256k;
        client_max_body_size 4m;
        location / {{
            grpc_pass grpcs://$department;
            grpc_buffer_size 256k;
            grpc_ssl_protocols TLSv1.3;
            grpc_ssl_certificate {certificate};
            grpc_ssl_certificate_key {key};
            grpc_ssl_trusted_certificate {ca};
            grpc_ssl_verify on;
            grpc_ssl_server_name on;
            grpc_ssl_name $department_name;
        }}
    }}
}}
"""
