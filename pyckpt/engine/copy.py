"""Copies a checkpoint from store to store, byte for byte, with what it uses of others (specification, section 13.7).

The root comes last and by create-if-absent, so that a copy is there whole or not at all. One that was broken off is
simply begun again: what the target has by then is checked and not sent twice.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial

from pyckpt.engine.commit import exists
from pyckpt.engine.copy_chunks import find_wrong, send_objects
from pyckpt.engine.copy_found import FRESH_SECONDS, Held, find_fallen, find_held, is_deleted, look
from pyckpt.engine.copy_plan import CopyPlan, DataObject, SmallObject, plan_copy
from pyckpt.engine.copy_small import holds, send_small, taken
from pyckpt.engine.copy_standalone import StandaloneCopy
from pyckpt.engine.futures import run_all
from pyckpt.engine.open import load_item, root_bytes
from pyckpt.engine.options import Progress
from pyckpt.engine.report import CopyReport
from pyckpt.engine.threads import default_threads
from pyckpt.engine.write import Meter
from pyckpt.errors import Corrupt, NotFound, SaveAborted, StoreError, Unsupported, UsageError
from pyckpt.format.digest import DIGESTS
from pyckpt.format.keys import check_checkpoint_name, root_key
from pyckpt.format.root import Root, decode_root
from pyckpt.storage.base import AlreadyThere, ObjectInfo, Store
from pyckpt.storage.local import LocalStore
from pyckpt.storage.url import checkpoint_url

__all__ = ["copy_checkpoint"]

_NETWORK_THREADS = 16
"""Threads where a store is no file system: they wait more than they work."""


def copy_checkpoint(
    source: Store,
    name: str,
    target: Store,
    *,
    target_name: str | None = None,
    standalone: bool = False,
    verify: bool = True,
    accept_weak_store: bool = False,
    threads: int | None = None,
    progress: Progress | None = None,
) -> CopyReport:
    """Copies the checkpoint ``name`` and what it uses of others; the copy has the same root digest.

    ``standalone`` makes a new checkpoint instead, with the same tensors, that uses no others and says where it comes
    from; one that was broken off is begun anew. ``verify`` reads what the target has already and no checkpoint there
    uses, and checks it; else its size will do.

    Raises NotFound ``checkpoint.missing``, AlreadyExists if the target has another checkpoint of that name, Corrupt for
    damage in the source or in what the target has, Unsupported, StoreError; SaveAborted if objects that were copied are
    gone in the end. Nothing at the target refers to what was copied by then, and the next try uses it.
    """
    begin = time.perf_counter()
    target_name = name if target_name is None else target_name
    check_checkpoint_name(name)
    check_checkpoint_name(target_name)
    data = root_bytes(source, name)
    root = decode_root(data, checkpoint=name, for_writing=standalone)
    if not standalone and target_name in {each.checkpoint for each in root.external}:
        raise UsageError(
            "usage.invalid", f"{name!r} uses another checkpoint of the name {target_name!r}", hint="choose another name"
        )
    about = partial(CopyReport, url=checkpoint_url(target.url, target_name), source=checkpoint_url(source.url, name))
    there = _standing(target, target_name)
    if there is not None:
        if root.digest != (there.origin if standalone else there.digest):
            raise exists(target, target_name)
        return about(digest=there.digest, already_there=True, seconds=time.perf_counter() - begin)
    weak = _is_weak(target, accept=accept_weak_store)
    threads = threads or _threads(source, target)
    if standalone:
        alone = StandaloneCopy(source, name, root, target, target_name, threads)
        digest = _copy_alone(alone, data, progress)
        seconds = time.perf_counter() - begin
        return about(digest=digest, objects=alone.objects + 1, sent=alone.sent, seconds=seconds, weak=weak)
    items = [load_item(source, name, item, root, tables_only=True) for item in root.items]
    plan = plan_copy(name, root, items, target_name)
    work = _Copy(source, target, target_name, plan, threads, verify, progress)
    work.run()
    _check_source(source, name, data)
    already_there = _create_root(target, target_name, data)
    return about(
        digest=root.digest,
        checkpoints=tuple(each.checkpoint for each in root.external),
        already_there=already_there,
        objects=len(plan.data) + len(plan.small) + 1,
        sent=work.sent + len(data),
        found=plan.bytes - work.sent,
        unchecked=sum(each.size for each in plan.data if each.cover.algorithm not in DIGESTS),
        seconds=time.perf_counter() - begin,
        weak=weak,
    )


def _is_weak(target: Store, *, accept: bool) -> bool:
    """Whether the target has no create-if-absent. Raises StoreError ``store.condition`` unless that is accepted."""
    weak = target.conditional_put != "native"
    if weak and not accept:
        raise StoreError(
            "store.condition",
            "the store does not honour create-if-absent: two checkpoints of one name could both seem to be there",
            key=target.url,
            hint="accept_weak_store=True copies anyway, if you make sure that one process writes a name",
        )
    return weak


def _threads(source: Store, target: Store) -> int:
    is_local = source.parallel_writes and target.parallel_writes
    return default_threads() if is_local else max(_NETWORK_THREADS, default_threads())


@dataclass(slots=True)
class _Copy:
    """One copy: what is done, in the order of the specification's table."""

    source: Store
    target: Store
    name: str
    plan: CopyPlan
    threads: int
    verify: bool
    progress: Progress | None
    sent: int = 0
    relied: dict[str, str] = field(default_factory=dict)
    """Checkpoints of the target, with their digests, whose objects this copy uses without having checked them."""

    def run(self) -> None:
        """Brings everything over but the root, and makes sure that it is all there in the end."""
        meter = Meter(self.plan.bytes, self.progress)
        found = look(self.target, self.plan)
        held = find_held(self.target, found) if found else Held()
        small = list(self._small_to_send(found, held))
        data = self._data_to_send(found, held, meter)
        self.sent = sum(each.size for each, _ in small) + sum(each.size for each in data)
        meter.add(self.plan.bytes - sum(each.size for each in self.plan.data) - sum(each.size for each, _ in small))

        def send(what: SmallObject, *, renew: bool) -> None:
            send_small(self.source, self.target, what, renew=renew)
            meter.add(what.size)

        send_objects(self.source, self.target, data, threads=self.threads, count=meter.add)
        with ThreadPoolExecutor(self.threads, thread_name_prefix="pyckpt-copy") as pool:
            run_all(pool, [partial(send, each, renew=renew) for each, renew in small])
        self._check_all()

    def _small_to_send(self, found: dict[str, ObjectInfo], held: Held) -> Iterator[tuple[SmallObject, bool]]:
        """Manifests and assets to be sent, and whether over what is there."""
        deleted = bool(found) and is_deleted(self.target, self.name)
        for what in self.plan.small:
            if what.target not in found:
                yield what, False
            elif not self._is_vouched_for(what, found, held):
                is_equal = holds(self.target, what)
                holder = held.holder(what.target)
                if holder is not None and not is_equal:
                    raise _other_bytes(what.target, holder, f"{what.kind}.digest")
                if what.kind == "asset" and not is_equal:
                    raise taken(what)
                if not is_equal or deleted or not self._is_fresh(found[what.target]):
                    yield what, True

    def _data_to_send(self, found: dict[str, ObjectInfo], held: Held, meter: Meter) -> list[DataObject]:
        """Data objects to be sent: those that the target lacks, or has with other bytes, or that are too old."""
        missing, doubtful = [], []
        for what in self.plan.data:
            info = found.get(what.target)
            if info is not None and self._is_vouched_for(what, found, held):
                meter.add(what.size)
            elif info is not None and held.holder(what.target) is not None:
                doubtful.append(what)
            elif info is None or info.size != what.size or not self._is_fresh(info):
                missing.append(what)
            elif self.verify:
                doubtful.append(what)
            else:
                meter.add(what.size)
        wrong = find_wrong(self.source, self.target, doubtful, threads=self.threads, count=meter.add)
        for what in doubtful:
            holder, is_wrong = held.holder(what.target), what.target in wrong
            if holder is not None and is_wrong:
                raise _other_bytes(what.target, holder, "block.digest")
            if holder is not None and holder not in held.doomed:
                self.relied[holder] = held.digests[holder]
            elif is_wrong or not self._is_fresh(found[what.target]):
                missing.append(what)
        return missing

    def _is_vouched_for(self, what: DataObject | SmallObject, found: dict[str, ObjectInfo], held: Held) -> bool:
        voucher = held.voucher(what)
        if voucher is None or found[what.target].size != what.size:
            return False
        self.relied[voucher] = held.digests[voucher]
        return True

    def _is_fresh(self, info: ObjectInfo) -> bool:
        return self.target.now() - info.modified < FRESH_SECONDS

    def _check_all(self) -> None:
        """The last look before the root: a collector, or anybody else, may have been here."""
        there = {key: info.size for key, info in look(self.target, self.plan).items()}
        lost = [key for key, size in self.plan.targets.items() if there.get(key) != size]
        if lost:
            raise SaveAborted(
                "save.aborted",
                f"{len(lost)} of the objects that were copied are gone or have another size, so no root was created",
                key=lost[0],
                hint="was garbage collected there with a short grace period? Copy again",
            )
        fallen = find_fallen(self.target, self.relied)
        if isinstance(self.target, LocalStore):
            self.target.settle(self.plan.targets)
        if fallen is not None:
            raise Corrupt(
                "external.missing",
                "a checkpoint of the target, whose objects this copy uses, was deleted meanwhile",
                key=fallen,
                hint="copy again",
            )


def _copy_alone(alone: StandaloneCopy, data: bytes, progress: Progress | None) -> str:
    """Makes the copy that stands alone; its root's digest."""
    meter = Meter(alone.plan(), progress)
    try:
        made = alone.run(meter.add)
        _check_source(alone.source, alone.name, data)
    except BaseException:
        alone.clean_up()
        raise
    alone.create_root(made)
    return decode_root(made, checkpoint=alone.target_name).digest


def _standing(target: Store, name: str) -> Root | None:
    """The root that the target has under this name, if any. Raises AlreadyExists for one that can't be read."""
    try:
        return decode_root(root_bytes(target, name), checkpoint=name)
    except NotFound:
        return None
    except (Corrupt, Unsupported) as error:
        raise exists(target, name) from error


def _check_source(source: Store, name: str, data: bytes) -> None:
    if root_bytes(source, name) != data:
        raise NotFound(
            "checkpoint.missing",
            "the checkpoint was deleted while it was copied, and another has its name now",
            key=checkpoint_url(source.url, name),
            hint="copy again, if you want that one",
        )


def _create_root(target: Store, name: str, data: bytes) -> bool:
    """Creates the root; True if another copy of the same was faster."""
    try:
        target.put_new(root_key(name), data)
    except AlreadyThere:
        if root_bytes(target, name) != data:
            raise exists(target, name) from None
        return True
    except BaseException as error:
        raise SaveAborted(
            "save.aborted",
            f"the root could not be created, or it is not known whether it was: {error}",
            key=root_key(name),
            hint="nothing was removed; copy again, which then finds it or creates it",
        ) from error
    return False


def _other_bytes(key: str, holder: str, code: str) -> Corrupt:
    return Corrupt(
        code,
        f"the target has other bytes there, and its checkpoint {holder!r} uses them, so they were not replaced",
        key=key,
        hint=f"see what pyckpt verify says of {holder!r} at the target",
    )

