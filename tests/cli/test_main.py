import json
import os
import pty
import select
import subprocess
import sys
import time

import pytest

import pyckpt
from pyckpt.cli.main import main
from pyckpt.errors import Corrupt, Finding, NotFound, StoreError

COMMANDS = ("inspect", "list", "verify", "diff", "copy", "export", "delete", "gc")
PYCKPT = (sys.executable, "-c", "import sys; from pyckpt.cli.main import main; sys.exit(main())")


def test_help(run):
    ran = run("--help")
    assert ran.status == 0
    assert [line.split()[0] for line in ran.out.partition("Commands:")[2].splitlines()[1 : 1 + len(COMMANDS)]] == list(COMMANDS)
    for command in COMMANDS:
        text = run(command, "--help").out
        assert "--json" in text
        assert f"    pyckpt {command} " in text
        assert max(map(len, text.splitlines())) <= 80


def test_version(run):
    assert run("--version").out == f"pyckpt {pyckpt.__version__} (Sharded Checkpoint Format 1.0-draft)\n"


@pytest.mark.parametrize(
    "args",
    [
        ("frobnicate",),
        ("inspect",),
        ("inspect", "x/y", "z", "--depth", "many"),
        ("inspect", "a/.."),
        ("inspect", "s3://bucket"),
        ("verify", "x/y", "--shallow", "--sha256sums", "z"),
        ("gc", "x", "--grace", "soon"),
        ("diff", "x/y"),
        ("list", ""),
    ],
)
def test_what_makes_no_sense(run, args):
    ran = run(*args)
    assert (ran.status, ran.out) == (2, "")
    assert ran.err
    assert "Traceback" not in ran.err
    ran = run(*args, "--json")
    assert ran.status == 2
    assert ran.json["error"]["code"] == "usage.invalid"


def test_errors_as_one_block(run, saved):
    ran = run("inspect", saved / "step_10")
    assert ran.err.splitlines() == [
        f"pyckpt: checkpoint.missing: {saved}/step_10",
        "  there is no committed checkpoint of this name",
        "  hint: did you mean step_100, step_200?",
    ]
    ran = run("inspect", saved / "step_10", "--json")
    assert (ran.status, ran.err) == (1, "")
    assert ran.json == {
        "error": {
            "code": "checkpoint.missing",
            "message": "there is no committed checkpoint of this name",
            "key": f"{saved}/step_10",
            "hint": "did you mean step_100, step_200?",
            "findings": [],
        }
    }


def test_errors_with_findings(run, monkeypatch, saved):
    findings = [Finding("root.schema", f"items.{n}", "bad \x1b[2J") for n in range(60)]

    def broken(*_):
        raise Corrupt("root.schema", "wrong in many ways", key="x", findings=findings)

    monkeypatch.setattr("pyckpt.cli.inspect.root_bytes", broken)
    ran = run("inspect", saved / "step_100")
    assert ran.status == 1
    assert ran.err.splitlines()[2] == "  - [root.schema] items.0: bad \\x1b[2J"
    assert "10 more" in ran.err
    assert len(run("inspect", saved / "step_100", "--json").json["error"]["findings"]) == 60


@pytest.mark.parametrize("error", [StoreError("store.io", "the disk is gone", key="k"), NotFound("item.missing", "no")])
def test_every_error_of_ours_is_a_line(run, monkeypatch, saved, error):
    def broken(*_, **__):
        raise error

    monkeypatch.setattr("pyckpt.cli.list.list_checkpoints", broken)
    ran = run("list", saved)
    assert ran.status == 1
    assert ran.err.startswith(f"pyckpt: {error.code}")


def test_interrupt(run, monkeypatch, saved):
    def broken(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("pyckpt.cli.list.list_checkpoints", broken)
    ran = run("list", saved)
    assert (ran.status, ran.out, ran.err.strip()) == (130, "", "pyckpt: stopped")


def test_closed_pipe_is_quiet(saved):
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "wb") as stdout:
        done = subprocess.run([*PYCKPT, "inspect", saved / "step_100"], stdout=stdout, stderr=subprocess.PIPE)
    assert (done.returncode, done.stderr) == (141, b"")


def test_ascii_output(saved):
    env = {**os.environ, "PYTHONIOENCODING": "ascii", "COLUMNS": "80"}
    done = subprocess.run([*PYCKPT, "inspect", saved / "step_100"], capture_output=True, env=env)
    assert (done.returncode, done.stderr) == (0, b"")
    assert b"`- head.weight" in done.stdout


@pytest.mark.parametrize(
    "args",
    [
        ("--help",),
        ("inspect", "step_100"),
        ("inspect", "step_100", "--json"),
        ("list", "."),
        ("verify", "step_100"),
        ("diff", "step_100", "step_200"),
        ("gc", ".", "--dry-run"),
    ],
)
def test_starts_without_what_it_does_not_need(saved, args):
    code = (
        "import sys; from pyckpt.cli.main import main; status = main(sys.argv[1:]); "
        "heavy = {'torch', 'fsspec', 's3fs', 'jsonschema', 'numpy.testing', 'unittest', 'asyncio', 'hypothesis'};"
        "print('LOADED', sorted(heavy & set(sys.modules)), 'rich' in sys.modules); sys.exit(status)"
    )
    done = subprocess.run([sys.executable, "-c", code, *args], cwd=saved, capture_output=True, text=True)
    assert done.returncode == (1 if args[0] == "diff" else 0), done.stderr
    loaded = done.stdout.splitlines()[-1]
    assert loaded.startswith("LOADED [] ")
    if "--json" in args or "--help" in args:
        assert loaded.endswith("False")


def in_terminal(args, answer=b"", cwd=None):
    """Runs the command in a pseudo-terminal of 80 columns; gives status and everything that appeared on it."""
    main_end, other_end = pty.openpty()
    env = {key: value for key, value in os.environ.items() if key not in ("NO_COLOR", "COLUMNS")}
    env |= {"TERM": "xterm-256color", "COLUMNS": "80"}
    process = subprocess.Popen([*PYCKPT, *args], stdin=other_end, stdout=other_end, stderr=other_end, env=env, cwd=cwd)
    os.close(other_end)
    seen, sent = b"", not answer
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if not select.select([main_end], [], [], 0.2)[0]:
            if process.poll() is not None:
                break
            continue
        try:
            data = os.read(main_end, 65536)
        except OSError:
            break
        if not data:
            break
        seen += data
        if not sent and b"]: " in seen:
            os.write(main_end, answer)
            sent = True
    os.close(main_end)
    return process.wait(60), seen.decode()


def test_progress_and_colour_on_a_terminal(saved):
    status, seen = in_terminal(["verify", str(saved / "step_100")])
    assert status == 0
    assert "\x1b[?25l" in seen
    assert "step_100" in seen
    assert "\x1b[1;32msound\x1b[0m" in seen


def test_delete_asks_on_a_terminal(store):
    status, seen = in_terminal(["delete", "step_100"], b"n\n", cwd=store)
    assert status == 1
    assert "nothing was deleted" in seen
    assert (store / "step_100" / "checkpoint.json").exists()
    status, seen = in_terminal(["delete", "step_100"], b"y\n", cwd=store)
    assert status == 0
    assert "(step 100, 20" in seen
    assert not (store / "step_100" / "checkpoint.json").exists()


def test_main_takes_the_process_arguments(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["pyckpt", "--version"])
    assert main() == 0
    assert capsys.readouterr().out.startswith("pyckpt ")


def test_json_is_ascii_and_one_line(run, saved):
    for args in (("list", saved), ("inspect", saved / "step_100"), ("verify", saved / "step_100")):
        out = run(*args, "--json").out
        assert out.isascii()
        assert out.count("\n") == 1
        json.loads(out)
