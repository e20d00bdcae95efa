"""Preemption as schedulers see it: the manifests are what Kubernetes and Argo take, and their command resumes."""

from __future__ import annotations

import copy
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import kubernetes_validate
import pytest
import yaml
from hera.workflows.models import Workflow

ROOT = Path(__file__).resolve().parents[2]
KUBERNETES = "1.37"


def documents(name):
    return list(yaml.safe_load_all((ROOT / "examples" / name).read_text(encoding="utf-8")))


def job():
    return next(each for each in documents("kubernetes/job.yaml") if each["kind"] == "Job")


def check(document):
    """Raises for what the scheduler's own schema does not know."""
    if document["apiVersion"].startswith("argoproj.io/"):
        Workflow.model_validate(document, extra="forbid")
    else:
        kubernetes_validate.validate(document, KUBERNETES, strict=True)


@pytest.mark.parametrize("name", ["kubernetes/job.yaml", "argo/workflow.yaml"])
def test_manifests_fit_their_schemas(name):
    for document in documents(name):
        check(document)


def nodes(value):
    if isinstance(value, dict):
        yield value
    for each in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from nodes(each)


@pytest.mark.parametrize("name", ["kubernetes/job.yaml", "argo/workflow.yaml"])
def test_what_a_schema_does_not_know_is_refused_anywhere(name):
    free = {"labels", "requests", "limits"}  # maps with names of one's own
    for document in documents(name):
        within = [
            at for at, each in enumerate(nodes(document)) if not any(each is node.get(key) for node in nodes(document) for key in free)
        ]
        assert len(within) > 2
        for at in within:
            changed = copy.deepcopy(document)
            list(nodes(changed))[at]["terminationGracePeriod"] = 1
            with pytest.raises(Exception, match="terminationGracePeriod"):
                check(changed)


def container(name):
    if name == "job":
        spec = job()["spec"]["template"]["spec"]
        return spec["containers"][0], spec["terminationGracePeriodSeconds"]
    spec = documents("argo/workflow.yaml")[0]["spec"]
    return spec["templates"][0]["container"], json.loads(spec["podSpecPatch"])["terminationGracePeriodSeconds"]


def test_exit_code_of_a_preemption_is_tried_again():
    spec = job()["spec"]
    assert spec["template"]["spec"]["restartPolicy"] == "Never"
    ignored = [rule["onExitCodes"] for rule in spec["podFailurePolicy"]["rules"] if "onExitCodes" in rule]
    name = container("job")[0]["name"]
    assert ignored == [{"containerName": name, "operator": "In", "values": [75]}]
    retry = documents("argo/workflow.yaml")[0]["spec"]["templates"][0]["retryStrategy"]
    assert "asInt(lastRetry.exitCode) == 75" in retry["expression"]
    assert (container("job")[0]["command"], container("job")[1]) == (container("argo")[0]["command"], container("argo")[1])


@pytest.mark.ranks
def test_the_command_of_the_manifests_saves_and_resumes(tmp_path):
    spec, _ = container("job")
    log = tmp_path / "log"

    def started(steps):
        environment = {
            **os.environ,
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "PYTHONPATH": os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH")))),
            "OMP_NUM_THREADS": "1",
            "GLOO_SOCKET_IFNAME": "lo",
            **{each["name"]: each["value"] for each in spec["env"]},
            "STORE": str(tmp_path / "run"),
            "STEPS": str(steps),
            "RANKS": "2",
        }
        with open(log, "wb") as file:
            return subprocess.Popen(
                spec["command"], cwd=ROOT, env=environment, stdout=file, stderr=file, start_new_session=True
            )

    def ended(process):
        try:
            return process.wait(90)
        finally:
            process.kill()

    process = started(10_000_000)
    end = time.monotonic() + 90
    while "training from step 1\n" not in log.read_text() and process.poll() is None and time.monotonic() < end:
        time.sleep(0.05)
    # As an executor may do it: to the whole group.
    os.killpg(process.pid, signal.SIGTERM)
    assert ended(process) == 75, log.read_text()
    saved = [int(each.name.removeprefix("step-")) for each in (tmp_path / "run").glob("step-*")]
    assert len(saved) == 1, log.read_text()

    last = saved[0] + 3
    assert ended(started(last)) == 0, log.read_text()
    text = log.read_text()
    assert re.search(rf"restored step {saved[0]} from", text)
    assert f"training from step {saved[0] + 1}\n" in text
    assert (tmp_path / "run" / f"step-{last:08d}" / "checkpoint.json").exists()


def test_a_failure_of_its_own_is_not_tried_again(tmp_path):
    environment = {"PATH": "/usr/bin:/bin", "STORE": str(tmp_path), "STEPS": "3"}  # there is no torchrun
    done = subprocess.run(container("job")[0]["command"], cwd=ROOT, env=environment, capture_output=True, timeout=30)
    assert done.returncode not in (0, 75), done.stderr
