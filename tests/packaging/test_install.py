"""``pip install .`` in a fresh environment without torch: the library imports, saves, loads and inspects."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

PROGRAM = """
import importlib.util, sys
assert importlib.util.find_spec("torch") is None
import numpy as np, pyckpt
url = sys.argv[1]
pyckpt.save(url, {"model": {"w": np.arange(6.0).reshape(2, 3)}, "x": {"step": 1}})
loaded = pyckpt.load(url)
assert loaded["model"]["w"][1, 2] == 5 and loaded["x"] == {"step": 1}
assert pyckpt.verify(url).ok
"""


@pytest.fixture(scope="module")
def environment(tmp_path_factory):
    """A virtual environment with the library and what it requires, and nothing else."""
    place = tmp_path_factory.mktemp("install")
    subprocess.run([sys.executable, "-m", "venv", str(place / "venv")], check=True)
    wheel = [str(place / "venv/bin/python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    # A copy, because building leaves files in the source tree.
    source = place / "source"
    subprocess.run(["git", "clone", "--quiet", str(ROOT), str(source)], check=False)
    if not (source / "pyproject.toml").exists():
        pytest.skip("the source tree is not a git checkout")
    done = subprocess.run([*wheel, "-c", str(ROOT / "constraints.txt"), str(source)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return place / "venv/bin"


def run(environment, *command):
    env = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    return subprocess.run(
        [str(environment / command[0]), *command[1:]], capture_output=True, text=True, check=False, env=env, cwd="/"
    )


def test_library_without_torch(environment, tmp_path):
    done = run(environment, "python", "-c", PROGRAM, str(tmp_path / "run" / "step_1"))
    assert done.returncode == 0, done.stderr
    shown = run(environment, "pyckpt", "inspect", str(tmp_path / "run" / "step_1"))
    assert shown.returncode == 0, shown.stderr
    assert "step_1" in shown.stdout
    assert run(environment, "pyckpt", "verify", str(tmp_path / "run" / "step_1")).returncode == 0


def test_conformance_suite_from_its_own_distribution(environment, tmp_path):
    """All its files arrive, those whose names begin with a dot too, and it runs without a checkout."""
    source = tmp_path / "source"
    subprocess.run(["git", "clone", "--quiet", str(ROOT), str(source)], check=True)
    pip = [str(environment / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    done = subprocess.run(
        [*pip, "-c", str(ROOT / "constraints.txt"), str(source / "conformance")], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    where = run(environment, "python", "-c", "import pyckpt_conformance as p; print(p.__path__[0])").stdout.strip()
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=source / "conformance", capture_output=True).stdout
    missing = [name for name in listed.decode().split("\0") if name and not (Path(where) / name).exists()]
    assert missing == []
    oracle = f"{environment / 'python'} -m pyckpt_conformance.oracle"
    ran = run(environment, "scf-conformance", "run", "--impl", oracle, "-k", "root-*", "-k", "list-*", "--jobs", "1")
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert " conforms in what it claims" in ran.stdout
