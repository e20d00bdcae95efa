"""Requests for regions that make no sense (SCF-READ-003), and stored regions that leave their place (SCF-REG-002)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from ...oracle.encode import Draft, Record, column
from ...oracle.encode_region import Region
from ..case import Case, checkpoint, rejected, step
from ..drafts import runs
from ..drafts_b import cut, filled, grid, pieces, region_value, run
from ..expect import path
from ..forms import dtypes, refused
from .objects_entries import columns

__all__ = ["cases", "refused_region"]

SHAPE = (6, 7)
HUGE = 2**63 - 1


def cases() -> Iterator[Case]:
    """All cases of this module."""
    yield from _requests()
    yield from _manifests()


def refused_region(
    name: str,
    title: str,
    fault: str,
    sibling: str,
    draft: Draft,
    region: Region,
    codes: Sequence[str] = ("state.layout",),
) -> Case:
    """A case of a request for a region of ``w`` that is refused."""
    request = step("read_region", rejected(*codes, phases=["plan"]), path=path(("w",)), regions=[region_value(region)])
    return Case(
        name, title, ["SCF-READ-003"], "region-read", [request], kind="invalid", fault=fault, sibling=sibling,
        files=checkpoint(draft), options=dtypes(draft),
    )  # fmt: skip


def _requests() -> Iterator[Case]:
    draft = pieces(filled("w", "F32", SHAPE), cut(SHAPE, 20))
    outside: dict[str, tuple[str, Region]] = {
        "last-dimension": ("The box ends one column behind the tensor.", Region((0, 0), (6, 8))),
        "first-dimension": ("The box ends one row behind the tensor.", Region((1, 0), (6, 7))),
        "offset": ("The box begins behind the tensor.", Region((7, 0), (1, 7))),
        "empty-box": ("The box has no elements, and begins behind the tensor.", Region((7, 0), (0, 7))),
        "run-stop": ("The run ends one element behind the box.", run(SHAPE, 0, 43)),
        "run-of-box": ("The run ends within the tensor, but behind the box.", Region((0, 0), (2, 7), (0, 15))),
        "run-reversed": ("The run has its start above its stop.", run(SHAPE, 5, 4)),
        "run-empty": ("The run has no elements, and lies behind the box.", run(SHAPE, 43, 43)),
        "overflow": ("Offset and size add up to 1 modulo 2^64.", Region((HUGE, 0), (HUGE, 7))),
        "overflow-volume": ("The sizes of the box multiply to 0 modulo 2^64.", Region((0, 0), (2**32, 2**32), (0, 42))),
    }
    for name, (fault, region) in outside.items():
        yield refused_region(
            f"geometry-request-{name}", f"A request outside the tensor: {name}", fault, "geometry-regions-of-runs",
            draft, region,
        )  # fmt: skip
    wrong = ("state.layout", "usage.invalid")
    for name, fault, region in (
        ("too-few-dimensions", "The box has one dimension, the tensor two.", Region((0,), (6,))),
        ("too-many-dimensions", "The box has three dimensions, the tensor two.", Region((0, 0, 0), (6, 7, 1))),
    ):
        yield refused_region(
            f"geometry-request-{name}", f"A request that is no box of the tensor: {name}", fault,
            "geometry-regions-of-runs", draft, region, wrong,
        )  # fmt: skip
    one_wrong = [region_value(each) for each in (run(SHAPE, 0, 5), run(SHAPE, 0, 43))]
    yield Case(
        "geometry-request-one-of-two",
        "Two requests, the second outside the tensor",
        ["SCF-READ-003", "SCF-READ-007"],
        "region-read",
        [step("read_region", rejected("state.layout", phases=["plan"]), path=path(("w",)), regions=one_wrong)],
        kind="invalid",
        fault="The run of the second region ends one element behind the box.",
        sibling="geometry-regions-of-runs",
        files=checkpoint(draft),
        options=dtypes(draft),
    )


def _manifests() -> Iterator[Case]:
    def changed(name: str, values: Sequence[int]) -> Callable[[Record], None]:
        def change(record: Record) -> None:
            columns(record)[name] = column("u64", values)

        return change

    boxes = pieces(filled("w", "F32", (4, 6)), grid([4], [2, 6]))
    faults: dict[str, tuple[str, str, Sequence[int]]] = {
        "box-size": ("The second box ends one column behind the tensor.", "box_size", (4, 2, 4, 5)),
        "box-offset": ("The second box begins one row too late.", "box_offset", (0, 0, 1, 2)),
        "box-behind": ("The second box begins behind the tensor.", "box_offset", (0, 0, 0, 7)),
        "box-overflow": ("Offset and size of the second box are 6 modulo 2^64.", "box_offset", (0, 0, 0, 2**64 - 2)),
        "box-empty": ("The second box has no elements.", "box_size", (4, 2, 4, 0)),
    }
    for name, (fault, which, values) in faults.items():
        yield refused(
            f"geometry-{name}", f"A box that is none of its tensor: {name}", fault, "manifest.schema",
            ["SCF-REG-002", "SCF-MAN-017"], "geometry-columns",
            boxes.with_item("model", record=changed(which, values)), phases=["manifest"],
        )  # fmt: skip
    ranges: dict[str, tuple[str, str, Sequence[int]]] = {
        "run-stop": ("The second run ends one element behind the box.", "run_stop", (2, 7)),
        "run-start": ("The second run begins behind the box.", "run_start", (0, 7)),
        "run-reversed": ("The second run has its start above its stop.", "run_stop", (2, 1)),
        "run-huge": ("The second run ends at 2^64 - 1.", "run_stop", (2, 2**64 - 1)),
    }
    for name, (fault, which, values) in ranges.items():
        yield refused(
            f"geometry-{name}", f"A run that is none of its box: {name}", fault, "manifest.schema",
            ["SCF-REG-002", "SCF-MAN-017"], "geometry-runs-of-matrix",
            runs().with_item("model", record=changed(which, values)), phases=["manifest"],
        )  # fmt: skip
    yield refused(
        "geometry-scalar-run",
        "A scalar whose run ends at 2",
        "The run of a scalar ends at 2, and the box has one element.",
        "manifest.schema",
        ["SCF-REG-002"],
        "geometry-scalar-as-run",
        pieces(filled("w", "F64", ()), [Region((), (), (0, 1))]).with_item("model", record=_scalar_run),
    )


def _scalar_run(record: Record) -> None:
    columns(record)["run_start"] = column("u64", [0])
    columns(record)["run_stop"] = column("u64", [2])
