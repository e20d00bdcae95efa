"""The killer: it counts what changes the directory, nothing else, and kills exactly where it was told to."""

from __future__ import annotations

import os
import platform
import shutil
import signal
import subprocess
import sys
import textwrap

import pytest

from conformance.transactions import killer as module
from conformance.transactions.killer import Killer, KillerUnavailable

pytestmark = pytest.mark.skipif(platform.system() != "Linux", reason="calls are intercepted on Linux only")

PYTHON = """
import os, sys
os.mkdir("warm"); os.rmdir("warm")
print("ready", flush=True)
sys.stdin.readline()
os.mkdir("a")
f = os.open("a/tmp", os.O_WRONLY | os.O_CREAT | os.O_EXCL)
os.write(f, b"12")
os.pwritev(f, [b"34", b"56"], 2)
os.fsync(f)
os.close(f)
os.link("a/tmp", "a/root")
os.unlink("a/tmp")
os.rename("a/root", "a/end")
print("done", flush=True)
"""

NODE = """
const fs = require("fs");
fs.mkdirSync("warm"); fs.rmdirSync("warm");
console.log("ready");
process.stdin.once("data", async () => {
  fs.mkdirSync("a");
  const f = await fs.promises.open("a/tmp", "wx");
  await f.write(Buffer.from("12"));
  await f.writev([Buffer.from("34"), Buffer.from("56")], 2);
  await f.sync();
  await f.close();
  fs.linkSync("a/tmp", "a/root");
  await fs.promises.unlink("a/tmp");
  fs.renameSync("a/root", "a/end");
  console.log("done");
  process.exit(0);
});
"""

STEPS = [
    {},
    {"a": None},
    {"a": None, "a/tmp": b""},
    {"a": None, "a/tmp": b"12"},
    {"a": None, "a/tmp": b"123456"},
    {"a": None, "a/tmp": b"123456"},
    {"a": None, "a/tmp": b"123456", "a/root": b"123456"},
    {"a": None, "a/root": b"123456"},
    {"a": None, "a/end": b"123456"},
]
"""What lies in the directory before each of the calls, and after the last one."""

LANGUAGES = [
    pytest.param([sys.executable, "-c", PYTHON], id="python"),
    pytest.param(
        ["node", "-e", NODE], id="node", marks=pytest.mark.skipif(shutil.which("node") is None, reason="no node")
    ),
]


@pytest.fixture
def directory(tmp_path):
    path = tmp_path / "store"
    path.mkdir()
    return path


@pytest.fixture
def killer(directory):
    try:
        found = Killer.prepare(directory)
    except KillerUnavailable as reason:
        pytest.skip(str(reason))
    with found:
        yield found


def act(killer, directory, command, *, leader=True):
    """Give the exit status of a program that is told to begin once it has started and the killer is armed."""
    run = subprocess.Popen(
        command,
        cwd=directory,
        env=killer.environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=leader,
    )
    with run:
        assert run.stdout.readline() == b"ready\n"
        killer.arm()
        run.stdin.write(b"go\n")
        run.stdin.close()
        run.stdout.read()
        status = run.wait(20)
    killer.disarm()
    return status


def python(text):
    start = "import os, sys, ctypes, threading, subprocess\nprint('ready', flush=True)\nsys.stdin.readline()\n"
    return [sys.executable, "-c", start + textwrap.dedent(text)]


def content(directory):
    return {
        path.relative_to(directory).as_posix(): path.read_bytes() if path.is_file() else None
        for path in directory.rglob("*")
    }


@pytest.mark.parametrize("command", LANGUAGES)
def test_counts_what_changes_the_directory(killer, directory, command):
    killer.kill_at(0)
    assert act(killer, directory, command) == 0
    calls = killer.calls()
    assert [call.number for call in calls] == list(range(1, len(STEPS)))
    assert killer.count == len(calls)
    assert [call.name.rstrip("64") for call in calls[:3]] == ["mkdir", "open", "write"]
    assert calls[3].name.startswith("pwritev")
    assert [call.name for call in calls[4:]] == ["fsync", "link", "unlink", "rename"]
    paths = [os.path.relpath(call.path, directory) for call in calls]
    assert paths == ["a", *["a/tmp"] * 4, "a/root", "a/tmp", "a/end"]
    assert killer.attached >= 1
    assert not killer.killed
    assert content(directory) == STEPS[-1]


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("command", LANGUAGES)
def test_kills_at_every_call(killer, directory, command, when):
    for number in range(1, len(STEPS)):
        shutil.rmtree(directory)
        directory.mkdir()
        killer.kill_at(number, when)
        assert act(killer, directory, command) == -signal.SIGKILL
        assert killer.killed
        assert killer.count == number
        assert content(directory) == STEPS[number - (when == "before")]


def test_a_number_beyond_the_last_call_kills_nobody(killer, directory):
    killer.kill_at(len(STEPS))
    assert act(killer, directory, [sys.executable, "-c", PYTHON]) == 0
    assert not killer.killed


def test_other_places_do_not_count(killer, directory, tmp_path):
    (tmp_path / "store2").mkdir()
    killer.kill_at(0)
    command = python("""
        open("../beside", "w").close()
        open("../store2/x", "w").write("1")
        os.rename("../beside", "../store2/y")
        os.open("..", os.O_RDONLY)
        open("../store2/x").read()
        os.listdir(".")
        sys.stdout.write("x"); sys.stdout.flush()
    """)
    assert act(killer, directory, command) == 0
    assert killer.calls() == []


def test_every_way_to_a_name_counts(killer, directory, tmp_path):
    (tmp_path / "link").symlink_to(directory)
    (directory / "old").write_bytes(b"1234")
    killer.kill_at(0)
    command = python("""
        libc = ctypes.CDLL(None)
        here = os.open(".", os.O_RDONLY)
        os.close(os.open("x", os.O_WRONLY | os.O_CREAT, dir_fd=here))
        os.close(os.open("../link/old", os.O_WRONLY | os.O_TRUNC))
        os.rename("x", "../out")
        os.rename("../out", "../link/y")
        libc.syscall(316, here, b"y", here, b"z", 1) if os.uname().machine == "x86_64" else os.rename("y", "z")
        os.truncate("z", 7)
        os.posix_fallocate(f := os.open("z", os.O_WRONLY), 0, 9)
        os.fsync(here)
        os.symlink("../nowhere", "s")
        os.remove("s")
        libc.fopen.restype = ctypes.c_void_p
        stream = ctypes.c_void_p(libc.fopen(b"w", b"w"))
        libc.fputs(b"text", stream)
        libc.fclose(stream)
        os.open(".", os.O_WRONLY | os.O_TMPFILE)
    """)
    assert act(killer, directory, command) == 0
    found = [(call.name, os.path.relpath(call.path, directory)) for call in killer.calls()]
    renamed = "renameat2" if platform.machine() == "x86_64" else "rename"
    assert [(name.removesuffix("64"), path) for name, path in found] == [
        ("openat", "x"),
        ("open", "old"),
        ("rename", "x"),
        ("rename", "y"),
        (renamed, "z"),
        ("truncate", "z"),
        ("posix_fallocate", "z"),
        ("fsync", "."),
        ("symlink", "s"),
        ("unlink", "s"),
        ("fopen", "w"),
        ("fclose", "w"),
        ("open", "."),
    ]


def test_processes_count_together_and_die_together(killer, directory):
    command = python("""
        open("1", "w").close()
        child = "open('2', 'w').close(); open('3', 'w').close(); open('4', 'w').close()"
        subprocess.run([sys.executable, "-c", child])
        open("5", "w").close()
    """)
    killer.kill_at(3)
    assert act(killer, directory, command) == -signal.SIGKILL
    assert sorted(content(directory)) == ["1", "2"]
    assert killer.count == 3  # the parent did nothing more
    assert len({call.pid for call in killer.calls()}) == 2


def test_no_thread_goes_on_after_the_deadly_call(killer, directory):
    command = python("""
        def work(name):
            for index in range(50):
                os.close(os.open(f"{name}-{index}", os.O_WRONLY | os.O_CREAT))
        threads = [threading.Thread(target=work, args=(name,)) for name in range(8)]
        [thread.start() for thread in threads]
        [thread.join() for thread in threads]
    """)
    for when, most in (("before", 99), ("after", 100)):
        shutil.rmtree(directory)
        directory.mkdir()
        killer.kill_at(100, when)
        assert act(killer, directory, command) == -signal.SIGKILL
        made = {call.path for call in killer.calls()[:most]}
        assert {str(directory / name) for name in content(directory)} <= made


def test_who_shares_the_runners_group_dies_alone(killer, directory):
    killer.kill_at(1)
    assert act(killer, directory, [sys.executable, "-c", PYTHON], leader=False) == -signal.SIGKILL


def test_long_counts(killer, directory):
    command = python("""
        f = os.open("x", os.O_WRONLY | os.O_CREAT)
        for _ in range(17000):
            os.write(f, b"1")
    """)
    killer.kill_at(17000)
    assert act(killer, directory, command) == -signal.SIGKILL
    assert killer.count == 17000
    assert (directory / "x").stat().st_size == 16998
    assert len(killer.calls()) == 16384


def test_reasons_why_it_is_unavailable(monkeypatch, tmp_path):
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "which", lambda name: None)
        with pytest.raises(KillerUnavailable, match="no C compiler"):
            Killer.prepare(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(platform, "system", lambda: "Darwin")
        with pytest.raises(KillerUnavailable, match="Linux only"):
            Killer.prepare(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(module.tempfile, "tempdir", str(tmp_path / "with space"))
        (tmp_path / "with space").mkdir()
        with pytest.raises(KillerUnavailable, match="a space"):
            Killer.prepare(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(module.tempfile, "tempdir", str(tmp_path))
        broken = tmp_path / "broken.c"
        broken.write_text("int main(void) { return }")
        patch.setattr(module, "_SOURCE", broken)
        if shutil.which("cc") or shutil.which("gcc") or shutil.which("clang"):
            with pytest.raises(KillerUnavailable, match=r"can't compile broken\.c"):
                Killer.prepare(tmp_path)


def test_environment_keeps_what_is_there(killer):
    found = killer.environment({"LD_PRELOAD": "/x/other.so", "A": "b"})
    assert found["LD_PRELOAD"].endswith(".so /x/other.so")
    assert found["A"] == "b"
    assert "PATH" not in found
