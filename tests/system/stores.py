"""Real stores: InfluxDB 1.6 behind the v2 write path, VictoriaMetrics, PostgreSQL, Prometheus."""

import json
import os
import secrets
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import httpx
import psycopg

from tests.system.real import LOOPBACK, Program, find, free_port, is_listening, need

Row = dict[str, Any]


def http_get(url: str, **params: str) -> httpx.Response:
    """Ask a loopback server, past any proxy that the machine has set.

    Raises:
        ConnectionError: nobody answers there (yet).
    """
    try:
        with httpx.Client(trust_env=False, timeout=10.0) as client:
            return client.get(url, params=params)
    except httpx.TransportError as err:
        raise ConnectionError(f"{url}: {err}") from err


class InfluxFront:
    """influxd 1.6 with nginx before it, which maps the v2 write path and checks the token.

    It proves the write path against a real parser and its errors, and InfluxQL. It is not an
    InfluxDB 2: no organisations, no bucket API, no Flux, no error body of v2.

    Attributes:
        url: for a v2 client. `/api/v2/write`, `/query` (InfluxQL), `/health` and `/ping` answer.
        token: the one token that is let through.
        org: any name is taken; this one is as good as another.
        bucket: a database that is there; `create` makes a fresh one.
        server: the influxd process.
        front: the nginx process.
    """

    org = "tests"

    def __init__(self, folder: Path) -> None:
        """Write both configurations; nothing runs before `start`."""
        influxd, nginx = need("influxd"), need("nginx")
        self.token = secrets.token_hex(8)
        self.bucket = ""
        self._own = f"http://{LOOPBACK}:{(own := free_port(beside=1))}"
        self.url = f"http://{LOOPBACK}:{(port := free_port())}"
        server, front = folder / "influxdb.conf", folder / "nginx.conf"
        server.write_text(INFLUXDB.format(folder=folder, rpc=own + 1, http=own, host=LOOPBACK))
        settings = {"FOLDER": folder, "PORT": port, "TOKEN": self.token, "SERVER": self._own}
        text = NGINX
        for name, value in settings.items():
            text = text.replace(f"@{name}@", str(value))
        front.write_text(text)
        self.server = Program(
            [influxd, "-config", str(server)],
            folder / "influxdb.log",
            lambda: http_get(f"{self._own}/ping").status_code == 204,
        )
        self.front = Program(
            [nginx, "-e", "stderr", "-p", str(folder), "-c", str(front)],
            folder / "nginx.log",
            lambda: is_listening(port),
        )

    def start(self) -> None:
        """Start both, or whichever of them is down."""
        self.server.start()
        self.front.start()

    def stop(self) -> None:
        """Stop both."""
        self.front.stop()
        self.server.stop()

    def create(self, bucket: str) -> None:
        """Make a database and write to it from now on."""
        self.bucket = bucket
        with httpx.Client(trust_env=False, timeout=10.0) as client:
            made = client.post(f"{self._own}/query", params={"q": f'CREATE DATABASE "{bucket}"'})
            made.raise_for_status()

    def query(self, influxql: str) -> list[Row]:
        """Ask the server itself, in the bucket.

        One row per point: its columns by name, its group's tags beside them; times are integers,
        nanoseconds since 1970 UTC.
        """
        answer = http_get(f"{self._own}/query", db=self.bucket, q=influxql, epoch="ns")
        result = answer.raise_for_status().json()["results"][0]
        if "error" in result:
            raise AssertionError(f"{influxql}: {result['error']}")
        return [
            {**series.get("tags", {}), **dict(zip(series["columns"], values, strict=True))}
            for series in result.get("series", [])
            for values in series.get("values", [])
        ]


INFLUXDB = """\
reporting-disabled = true
bind-address = "{host}:{rpc}"
[meta]
  dir = "{folder}/meta"
[data]
  dir = "{folder}/data"
  wal-dir = "{folder}/wal"
  query-log-enabled = false
[monitor]
  store-enabled = false
[http]
  bind-address = "{host}:{http}"
  log-enabled = false
"""

# In one process, so that killing it leaves no worker behind. v2 says ns and us where v1 knows
# n and u, and v1 takes an unknown precision for nanoseconds.
NGINX = """\
daemon off;
master_process off;
pid @FOLDER@/nginx.pid;
error_log stderr;
events {}
http {
  access_log off;
  client_max_body_size 64m;
  client_body_temp_path @FOLDER@/body;
  proxy_temp_path @FOLDER@/proxy;
  fastcgi_temp_path @FOLDER@/fastcgi;
  uwsgi_temp_path @FOLDER@/uwsgi;
  scgi_temp_path @FOLDER@/scgi;
  map $http_authorization $known { default 0; "Token @TOKEN@" 1; }
  map $arg_precision $precision { default $arg_precision; ns n; us u; "" n; }
  server {
    listen 127.0.0.1:@PORT@;
    proxy_set_header Authorization "";
    location = /api/v2/write {
      if ($known = 0) { return 401 '{"code":"unauthorized","message":"unauthorized access"}'; }
      proxy_pass @SERVER@/write?db=$arg_bucket&precision=$precision;
    }
    location = /query {
      if ($known = 0) { return 401 '{"error":"unauthorized access"}'; }
      proxy_pass @SERVER@;
    }
    location = /health {
      default_type application/json;
      return 200 '{"status":"pass","name":"influxdb"}';
    }
    location = /ping { proxy_pass @SERVER@; }
    location / { return 404 '{"code":"not found"}'; }
  }
}
"""


class Victoria(Program):
    """VictoriaMetrics: a second server for the v2 write path, which no InfluxDB code runs in.

    It answers a bad line with success, stores a string as 0, ignores the bucket and the token,
    and keeps milliseconds. A series is named `measurement_field`.

    Attributes:
        url: for a v2 client, and for PromQL below `/api/v1`.
    """

    def __init__(self, folder: Path) -> None:
        """Take the folder for data and log."""
        command = need("victoria-metrics")
        port = free_port()
        self.url = f"http://{LOOPBACK}:{port}"
        argv = [command, "-storageDataPath", str(folder / "data"), "-retentionPeriod", "100y"]
        argv += ["-httpListenAddr", f"{LOOPBACK}:{port}"]
        super().__init__(argv, folder / "victoria.log", lambda: is_listening(port))

    def export(self, match: str) -> list[Row]:
        """Return the series of a selector, each with `metric`, `values` and `timestamps` in ms.

        A write shows up some tenths of a second after it was answered: ask with `until`.
        """
        http_get(f"{self.url}/internal/force_flush").raise_for_status()
        answer = http_get(f"{self.url}/api/v1/export", **{"match[]": match}).raise_for_status()
        return [json.loads(line) for line in answer.text.splitlines()]

    def invalid_lines(self) -> float:
        """How many lines it has silently thrown away."""
        page = http_get(f"{self.url}/metrics").text.splitlines()
        counts = [line for line in page if line.startswith('vm_rows_invalid_total{type="influx"}')]
        return sum(float(line.split()[-1]) for line in counts)


class Postgres(Program):
    """PostgreSQL with its own cluster, everyone on loopback trusted.

    Attributes:
        dsn: connects to the database last made by `create`.
    """

    def __init__(self) -> None:
        """Make the cluster (about two seconds); nothing runs before `start`."""
        postgres = need("postgresql", "/usr/lib/postgresql/*/bin/postgres", "postgres")
        initdb = str(Path(postgres).with_name("initdb"))
        # PostgreSQL refuses root, and its user may not enter pytest's folders.
        self._home = Path(tempfile.mkdtemp(prefix="flowengine-postgres-"))
        become: list[str] = []
        if os.geteuid() == 0:
            shutil.chown(self._home, "postgres", "postgres")
            setpriv = find("setpriv") or "setpriv"
            become = [setpriv, "--reuid=postgres", "--regid=postgres", "--clear-groups"]
        data = str(self._home / "data")
        make = [*become, initdb, "-D", data, "-A", "trust", "-U", "flowengine", "-E", "UTF8"]
        subprocess.run([*make, "--no-sync"], check=True, capture_output=True, cwd=self._home)
        self.port = free_port()
        self.dsn = f"host={LOOPBACK} port={self.port} user=flowengine dbname=postgres"
        argv = [*become, postgres, "-D", data, "-p", str(self.port)]
        for setting in (
            f"listen_addresses={LOOPBACK}",
            f"unix_socket_directories={self._home}",
            "fsync=off",
            "shared_buffers=16MB",
        ):
            argv += ["-c", setting]
        super().__init__(
            argv,
            self._home / "postgres.log",
            lambda: self.select("SELECT 1"),
            stop_signal=signal.SIGINT,  # "fast": SIGTERM would wait for the clients to leave
        )

    def create(self, database: str) -> None:
        """Make an empty database and point `dsn` at it."""
        base = self.dsn.rpartition(" ")[0]
        with psycopg.connect(f"{base} dbname=postgres", autocommit=True) as link:
            link.execute(
                psycopg.sql.SQL("CREATE DATABASE {}").format(psycopg.sql.Identifier(database))
            )
        self.dsn = f"{base} dbname={database}"

    def select(self, sql: str) -> list[tuple[Any, ...]]:
        """Run one statement in its own connection and return its rows, none if it has none."""
        try:
            with psycopg.connect(self.dsn, autocommit=True, connect_timeout=5) as link:
                cursor = link.execute(sql.encode())
                return cursor.fetchall() if cursor.description else []
        except psycopg.OperationalError as err:
            raise ConnectionError(str(err)) from err

    def remove(self) -> None:
        """Stop it and delete the cluster."""
        self.stop()
        shutil.rmtree(self._home, ignore_errors=True)


class Prometheus(Program):
    """Prometheus that scrapes one target every second and takes remote writes.

    Attributes:
        url: its own address; remote writes go to `/api/v1/write`.
    """

    def __init__(self, folder: Path, target: str = "", path: str = "/metrics") -> None:
        """Take the target as `host:port`; without one it scrapes nothing."""
        command = need("prometheus")
        port = free_port()
        self.url = f"http://{LOOPBACK}:{port}"
        job = {"job_name": "flowengine", "metrics_path": path}
        jobs = [{**job, "static_configs": [{"targets": [target]}]}] if target else []
        config = folder / "prometheus.yml"
        # JSON is YAML enough.
        config.write_text(json.dumps({"global": {"scrape_interval": "1s"}, "scrape_configs": jobs}))
        argv = [command, f"--config.file={config}", f"--storage.tsdb.path={folder / 'data'}"]
        argv += [f"--web.listen-address={LOOPBACK}:{port}", "--web.enable-remote-write-receiver"]
        super().__init__(
            argv,
            folder / "prometheus.log",
            lambda: http_get(f"{self.url}/-/ready").status_code == 200,
        )

    def query(self, promql: str) -> list[Row]:
        """Return the instant vector: each with `metric` and `value` (time, text)."""
        answer = http_get(f"{self.url}/api/v1/query", query=promql).raise_for_status().json()
        rows: list[Row] = answer["data"]["result"]
        return rows
