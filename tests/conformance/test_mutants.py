"""Every mutant is what it says: it starts, its bug is really there, and no other one stays behind."""

from __future__ import annotations

import inspect
import io
import json
import subprocess
import sys
from types import FunctionType

import pytest

from conformance.generate.areas import root as root_area
from conformance.generate.write import expected
from conformance.mutants.catalogue import MUTANTS
from conformance.mutants.mutant import mutant
from conformance.mutants.patching import BadPatchError, Patches
from conformance.mutants.run import in_order, run_all
from conformance.oracle import listing, opening, operations, reading, root, serve, tiling
from conformance.runner.suite import PROFILES, SuiteError, chosen, load_cases

WANTED = ("root-plain", "root-bare", "root-digest-wrong-digit", "root-feature-nobody-knows")


def greeting() -> dict:
    responses = io.BytesIO()
    serve.serve(io.BytesIO(b'{"id": 7, "op": "hello", "protocol": "1.0"}\n'), responses)
    return json.loads(responses.getvalue())


def code() -> dict:
    """What each name in the oracle's modules stands for, and the code of every function and method."""
    found = {}
    for name, module in list(sys.modules.items()):
        if name.startswith("conformance.oracle"):
            for key, value in vars(module).items():
                found[name, key] = id(value)
                members = vars(value).values() if isinstance(value, type) else ()
                for each in (value, *members):
                    inner = inspect.unwrap(getattr(each, "fget", None) or getattr(each, "func", each))
                    if isinstance(inner, FunctionType):
                        found[name, key, inner.__qualname__] = inner.__code__
    return found


@pytest.fixture(scope="module")
def small_suite(tmp_path_factory):
    """The suite with a few cases of the roots."""
    target = tmp_path_factory.mktemp("suite")
    cases = [("root", case) for case in root_area.cases() if case.id in WANTED]
    for path, data in expected(cases).items():
        (target / path).parent.mkdir(parents=True, exist_ok=True)
        (target / path).write_bytes(data)
    return target


def test_there_are_enough_for_all_profiles():
    assert len(MUTANTS) >= 60
    assert {profile for each in MUTANTS.values() for profile in each.profiles} == set(PROFILES)


def test_every_mutant_starts_says_hello_and_leaves_nothing_behind():
    greeting()
    before = code()
    for each in MUTANTS.values():
        with each.applied():
            assert code() != before, each.name
            response = greeting()
        assert response["result"] == "ok", each.name
        assert response["id"] == 7
    assert code() == before


def test_the_description_says_what_an_implementation_does():
    for each in MUTANTS.values():
        assert each.bug, each.name
        assert each.bug[0].isupper(), each.name
        assert not each.bug.endswith("."), each.name
        assert each.profiles, each.name
        assert set(each.profiles) <= set(PROFILES), each.name
        assert each.hints, each.name
    assert len({each.bug for each in MUTANTS.values()}) == len(MUTANTS)


def test_every_hint_leads_to_a_case():
    cases = list(load_cases().values())
    lost = [(each.name, hint) for each in MUTANTS.values() for hint in each.hints if not chosen(cases, [hint])]
    assert not lost


def test_a_mutant_is_an_executable_of_the_protocol():
    command = [sys.executable, "-m", "conformance.mutants"]
    lines = b'{"id": 1, "op": "hello"}\n{"id": 2, "op": "list", "store": {"kind": "directory", "path": "/nowhere"}}\n'
    done = subprocess.run([*command, "accept-everything"], input=lines, capture_output=True, check=True, timeout=60)
    hello, listed = (json.loads(line) for line in done.stdout.splitlines())
    assert hello["name"] == operations.NAME
    assert listed == {"id": 2, "result": "ok", "checkpoints": [], "newest": None}
    shown = subprocess.run([*command, "--list"], capture_output=True, check=True, timeout=60)
    assert [each["name"] for each in json.loads(shown.stdout)] == list(MUTANTS)
    assert subprocess.run([*command, "no-such-bug"], capture_output=True, timeout=60).returncode == 2


def test_an_edit_is_seen_by_those_who_have_imported_the_function():
    patches = Patches()
    data = b'{"scf":1,"digest":"' + b"a" * 64 + b'",}'
    assert opening.read_root is root.read_root
    with pytest.raises(root.Rejected, match="root.digest"):
        opening.read_root(data, "c")
    patches.edit(root.read_root, "if root_digest(data) != digest:", "if False:")
    with pytest.raises(root.Rejected, match="root.syntax"):
        opening.read_root(data, "c")
    patches.undo()
    with pytest.raises(root.Rejected, match="root.digest"):
        opening.read_root(data, "c")


def test_a_function_can_be_edited_twice_and_get_more_names():
    patches = Patches()
    patches.edit(listing.newest, "root.sequence", "one(root)", one=lambda _: 1)
    patches.edit(listing.newest, "one(root)", "one(root) + 1")
    assert "one" in vars(listing)
    patches.undo()
    assert "one" not in vars(listing)
    assert listing.newest([]) is None


def test_a_name_changes_wherever_it_was_imported():
    patches = Patches()
    old = reading.DIGESTS
    patches.name(sys.modules["conformance.oracle.digests"], "DIGESTS", {})
    assert reading.DIGESTS == {}
    assert operations.DIGESTS == {}
    patches.undo()
    assert reading.DIGESTS is old
    assert operations.DIGESTS is old


@pytest.mark.parametrize(
    "change",
    [
        lambda patches: patches.edit(tiling.tiles, "what is not there", ""),
        lambda patches: patches.edit(tiling.tiles, "False", ""),
        lambda patches: patches.edit(tiling.tiles, "return _disjoint(spans)", "return prod", prod=None),
        lambda patches: patches.edit(tiling.Region, "self", ""),
        lambda patches: patches.name(tiling, "NO_SUCH_NAME", 0),
    ],
    ids=["absent", "several", "name-taken", "no-function", "no-name"],
)
def test_a_patch_whose_target_is_not_there_fails_loudly(change):
    patches = Patches()
    with pytest.raises(BadPatchError):
        change(patches)
    patches.undo()


def test_hinted_cases_come_first(small_suite):
    cases = load_cases(small_suite)
    hinted, others = in_order(MUTANTS["skips-root-digest"], cases.values())
    assert [case.id for case in hinted] == ["root-digest-wrong-digit"]
    assert sorted([*hinted, *others], key=lambda case: case.id) == sorted(cases.values(), key=lambda case: case.id)


def test_the_suite_catches_or_lets_survive(small_suite):
    @mutant("inspect", hints=["root-bare"])
    def has_no_bug(oracle: Patches) -> None:
        """Does nothing wrong."""

    shown = []
    names = ("accept-everything", "reject-everything", "skips-root-digest", "ignores-read-features", "loses-nan-payloads")
    results = run_all(2, shown.append, [MUTANTS[name] for name in names], small_suite)
    assert sorted(shown, key=lambda each: each.mutant.name) == sorted(results, key=lambda each: each.mutant.name)
    caught = {each.mutant.name: each.caught and each.caught.case.id for each in results}
    assert caught == {
        "accept-everything": "root-bare",
        "reject-everything": "root-plain",
        "skips-root-digest": "root-digest-wrong-digit",
        "ignores-read-features": "root-feature-nobody-knows",
        "loses-nan-payloads": None,
    }
    assert [each.hinted for each in results] == [False, True, True, True, False]
    assert has_no_bug.bug == "Does nothing wrong"
    with pytest.raises(SuiteError, match="has-no-bug does not start"):
        run_all(1, mutants=[has_no_bug], suite=small_suite)
