"""An Azurite server on loopback: Azure's blob storage as its makers emulate it, with its data in memory."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import hmac
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from email.utils import formatdate
from pathlib import Path

ACCOUNT = "devstoreaccount1"
# Of every emulator; published by its makers.
KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
PROGRAM = Path(__file__).resolve().parents[1] / "npm/node_modules/azurite/dist/src/blob/main.js"
CONTAINER = "ready"


@dataclass(frozen=True, slots=True)
class Azurite:
    """A server that is up."""

    endpoint: str
    """With the account in it."""
    process: subprocess.Popen[bytes]

    def environment(self):
        """What a process needs to reach it."""
        return {
            "AZURE_STORAGE_ACCOUNT_NAME": ACCOUNT,
            "AZURE_STORAGE_ACCOUNT_KEY": KEY,
            "AZURE_STORAGE_ENDPOINT": self.endpoint,
        }

    def make_container(self, name):
        """As a user does before the first save; the engine has no request for it."""
        date, version = formatdate(usegmt=True), "2021-08-06"
        text = "\n".join(
            ("PUT", *[""] * 11, f"x-ms-date:{date}", f"x-ms-version:{version}", f"/{ACCOUNT}/{ACCOUNT}/{name}", "restype:container")
        )
        digest = hmac.new(base64.b64decode(KEY), text.encode(), hashlib.sha256).digest()
        headers = {
            "x-ms-date": date,
            "x-ms-version": version,
            "Authorization": f"SharedKey {ACCOUNT}:{base64.b64encode(digest).decode()}",
            "Content-Type": "",
        }
        url = f"{self.endpoint}/{name}?restype=container"
        with urllib.request.urlopen(urllib.request.Request(url, data=b"", headers=headers, method="PUT"), timeout=5):
            pass


def node():
    """Path of Node.js, or None."""
    beside = Path(sys.executable).parent / "node"
    return shutil.which("node") or (str(beside) if beside.exists() else None)


def missing():
    """Why it can't run here; empty if it can."""
    if not PROGRAM.exists():
        return "no Azurite server: make tests/npm/node_modules/.installed"
    return "" if node() else "no Node.js"


@contextlib.contextmanager
def serving(log):
    """Runs a server that writes what goes wrong into a file."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [node(), str(PROGRAM), "--blobHost", "127.0.0.1", "--blobPort", str(port), "--inMemoryPersistence"]
    command += ["--silent", "--skipApiVersionCheck", "--disableTelemetry"]
    with open(log, "wb") as file:
        process = subprocess.Popen(command, stdout=file, stderr=file, cwd=Path(log).parent)
    server = Azurite(f"http://127.0.0.1:{port}/{ACCOUNT}", process)
    try:
        _wait_ready(server, log)
        yield server
    finally:
        process.kill()
        process.wait(30)


def _wait_ready(server, log):
    deadline = time.monotonic() + 60
    while True:
        try:
            server.make_container(CONTAINER)
            return
        except urllib.error.HTTPError:
            raise
        except OSError as error:
            if server.process.poll() is not None or time.monotonic() > deadline:
                raise OSError(f"Azurite did not start: {error}\n{Path(log).read_text()[-2000:]}") from error
            time.sleep(0.1)
