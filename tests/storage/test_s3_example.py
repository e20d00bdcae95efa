"""The example of a run in a bucket, against a real server."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "s3.py"


def test_a_run_in_a_bucket_resumes(seaweed, weed_place):
    store = f"s3://{weed_place}"

    def run(last):
        environment = {**os.environ, **seaweed.environment()}
        command = [sys.executable, str(EXAMPLE), store, str(last)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, env=environment)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    assert "starting afresh" in run(20)
    out = run(30)
    assert f"restored step 20 from {store}/step-00000020" in out
    assert "deleted step-00000010" in out
    assert f"{store}/step-00000030: row 100 is 30 throughout, pyckpt.verify(newest).ok=True" in out
    assert "conditional" not in out
