"""Many writers at one moment: one name goes to exactly one of them, and different names do not disturb each other."""

from __future__ import annotations

import os
import threading
import time
import warnings

import pytest

from pyckpt.engine.collect import collect_garbage
from pyckpt.engine.delete import delete
from pyckpt.engine.listing import list_checkpoints
from pyckpt.engine.open import open_root
from pyckpt.engine.verify import verify
from pyckpt.errors import AlreadyExists, NotFound, PyckptError, SaveAborted, StoreError
from pyckpt.storage.local import LocalStore
from pyckpt.storage.memory import MemoryStore
from tests.durability.kill_points import check_collected, check_listed, save_one

WRITERS = 8
ROUNDS = 4


def at_once(acts):
    """Runs all in threads that start together; what each returned or raised."""
    start = threading.Barrier(len(acts))
    outcomes = [None] * len(acts)

    def run(number):
        start.wait()
        try:
            outcomes[number] = acts[number]()
        except BaseException as error:  # noqa: BLE001
            outcomes[number] = error

    threads = [threading.Thread(target=run, args=(number,)) for number in range(len(acts))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return outcomes


@pytest.fixture(params=["local", "direct", "memory"])
def opened(request, tmp_path):
    """Opens the same store again and again."""
    if request.param == "memory":
        store = MemoryStore("races")
        store.clear()
        yield lambda: MemoryStore("races")
        store.clear()
    else:
        yield lambda: LocalStore(tmp_path / "store", "direct" if request.param == "direct" else "auto")


def check_winner(store, name, outcomes):
    won = [number for number, each in enumerate(outcomes) if not isinstance(each, BaseException)]
    assert len(won) == 1, outcomes
    lost = [each for each in outcomes if isinstance(each, BaseException)]
    assert all(isinstance(each, AlreadyExists) for each in lost), outcomes
    report = verify(store, name, threads=1)
    assert report.ok, report.findings
    opened = open_root(store, name)
    seed = won[0] + 1
    assert opened.root.digest == outcomes[won[0]].digest
    assert opened.root.metadata["seed"] == seed
    asset = opened.root.items["model"].assets["config.json"]
    assert store.get(f"{name}/{asset.key}", limit=9) == b"%d" % seed


def test_one_name_goes_to_one_thread(opened):
    for turn in range(ROUNDS):
        name = f"step_{turn}"
        outcomes = at_once([lambda seed=seed: save_one(opened(), name, seed) for seed in range(1, WRITERS + 1)])
        check_winner(opened(), name, outcomes)


def test_different_names_all_commit(opened):
    names = [f"step_{number}" for number in range(WRITERS)]
    outcomes = at_once([lambda name=name: save_one(opened(), name, 3) for name in names])
    assert not [each for each in outcomes if isinstance(each, BaseException)], outcomes
    check_listed(opened(), set(names))


def test_one_name_goes_to_one_process(tmp_path):
    """Processes share nothing but the directory; each says how it ended by its exit status."""
    for turn in range(ROUNDS):
        root = tmp_path / "store"
        name = f"step_{turn}"
        go = time.time() + 0.2
        children = {}
        for seed in range(1, WRITERS + 1):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", DeprecationWarning)
                number = os.fork()
            if number == 0:
                code = 2
                try:
                    time.sleep(max(0, go - time.time()))
                    save_one(LocalStore(root), name, seed)
                    code = 0
                except AlreadyExists:
                    code = 1
                finally:
                    os._exit(code)
            children[number] = seed
        ends = {seed: os.WEXITSTATUS(os.waitpid(number, 0)[1]) for number, seed in children.items()}
        assert sorted(ends.values()) == [0] + [1] * (WRITERS - 1), ends
        winner = next(seed for seed, code in ends.items() if code == 0)
        store = LocalStore(root)
        assert open_root(store, name).root.metadata["seed"] == winner
        assert verify(store, name).ok
    check_listed(LocalStore(root), {f"step_{turn}" for turn in range(ROUNDS)})


class Hooked:
    """A store that does something before it creates a key that ends like this."""

    def __init__(self, store, ending, act):
        self._store, self._ending, self._act = store, ending, act

    def __getattr__(self, name):
        return getattr(self._store, name)

    def put_new(self, key, data):
        if key.endswith(self._ending):
            self._act()
        self._store.put_new(key, data)


def test_a_loser_takes_back_its_data(opened):
    """The winner commits while the loser is about to: what the loser wrote would stay until the next collection."""
    store = opened()
    loser = Hooked(store, "/checkpoint.json", lambda: save_one(opened(), "step_1", 1))
    with pytest.raises(AlreadyExists):
        save_one(loser, "step_1", 2)
    before = {info.key for info in store.list("")}
    check_collected(store, died="step_1")
    gone = before - {info.key for info in store.list("")}
    assert not gone, gone


def test_a_failed_save_does_not_take_the_assets_of_another(opened):
    """Both have an asset of the same bytes; the first stores it, the second finds it there, and then the first fails."""
    store = opened()
    reused, failed = threading.Event(), threading.Event()

    def fail():
        reused.wait(10)
        raise StoreError("store.io", "made to fail")

    def commit():
        reused.set()
        failed.wait(10)

    def first():
        try:
            save_one(Hooked(opened(), "vocab/a.txt", fail), "step_1", 1)
        finally:
            failed.set()

    def second():
        while store.info("step_1/model/config.json") is None:
            time.sleep(0.001)
        return save_one(Hooked(opened(), "/checkpoint.json", commit), "step_1", 1)

    one, two = at_once([first, second])
    assert isinstance(one, StoreError)
    assert not isinstance(two, BaseException), two
    check_listed(store, {"step_1"})


def test_saving_while_others_delete_and_collect(opened):
    """With a grace period, as it is meant: no collection harms a save, and every listed checkpoint is whole."""
    store = opened()
    for number in range(3):
        save_one(store, f"old_{number}", number + 1)
    acts = [lambda seed=seed: save_one(opened(), f"new_{seed}", seed) for seed in range(1, 4)]
    acts += [lambda number=number: delete(opened(), f"old_{number}") for number in range(2)]
    acts += [lambda: collect_garbage(opened(), grace=60.0) for _ in range(3)]
    outcomes = at_once(acts)
    assert not [each for each in outcomes if isinstance(each, BaseException)], outcomes
    check_listed(store, {"old_2", "new_1", "new_2", "new_3"})
    check_collected(store)
    check_listed(store, {"old_2", "new_1", "new_2", "new_3"})


def test_collection_without_grace_makes_saves_fail_in_words(opened):
    """grace=0 while others save breaks the rule that a save needs; what it may cost is that save, said by our errors."""
    for turn in range(ROUNDS):
        acts = [lambda seed=seed, turn=turn: save_one(opened(), f"new_{turn}_{seed}", seed) for seed in range(1, 4)]
        acts += [lambda: collect_garbage(opened(), grace=0)] * 2
        for outcome in at_once(acts):
            assert not isinstance(outcome, BaseException) or isinstance(outcome, PyckptError), outcome


def test_saving_again_under_a_name_that_is_being_deleted(opened):
    """Either the old one, or the new one, or none is there afterwards: never a mixture."""
    for turn in range(ROUNDS):
        name = f"step_{turn}"
        store = opened()
        save_one(store, name, 1)
        outcomes = at_once(
            [lambda: delete(opened(), name), lambda: save_one(opened(), name, 2), lambda: save_one(opened(), name, 3)]
        )
        for outcome in outcomes:
            good = (AlreadyExists, NotFound, SaveAborted)
            assert not isinstance(outcome, BaseException) or isinstance(outcome, (*good, PyckptError)), outcome
        for each in list_checkpoints(store):
            assert each.error is None
            assert verify(store, each.name, threads=1).ok
