"""Reading assets: what lies in the store is what the root says (sections 6.5 and 12.3)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

from ..case import Case, checkpoint, ok, rejected, step
from ..drafts import content, scalars
from ..expect import inspected, read_values
from ..forms import accepted

__all__ = ["cases"]

ASSETS: Final[dict[str, bytes]] = {
    "config.json": b"{}",
    "tokenizer/vocab.txt": b"a\nb\n",
    "tokenizer/deep/er/still.bin": content(5000),
    "empty": b"",
    "same": b"{}",
}
NAMES: Final = ("a b.txt", ".hidden", "$x", "%2e", "é", "tokenizer (1)/x,y;z", "__proto__", "model.safetensors", "~")
MIB: Final = 1024 * 1024
Change = Callable[[bytes], bytes]


def cases() -> Iterator[Case]:
    """All cases of the area."""
    draft = scalars(assets=ASSETS)
    yield accepted("assets", "Assets in directories and beside, one without bytes", ["SCF-LIMIT-001"], draft, read=True)
    odd = scalars(assets={name: name.encode() for name in NAMES})
    requirements = ["SCF-LIMIT-001", "SCF-CONV-006", "SCF-LAYOUT-002"]
    yield accepted("assets-names", "Assets of unusual names", requirements, odd, read=True)
    yield from _displaced()
    yield from _damaged()


def _displaced() -> Iterator[Case]:
    moved = scalars(assets=ASSETS, displaced=frozenset(("config.json", "tokenizer/vocab.txt")))
    other = {"c/model/config.json": b"[]", "c/model/tokenizer/vocab.txt": b"other"}
    yield accepted(
        "assets-displaced",
        "Assets under the key with an attempt, beside other objects under their plain keys",
        ["SCF-LIMIT-001", "SCF-LAYOUT-012"],
        moved,
        read=True,
        more=other,
    )
    files = {**checkpoint(moved), **other}
    del files[f"c/model/{moved.attempt}.d/config.json"]
    yield Case(
        "assets-displaced-missing",
        "The object under a plain key does not stand in for a missing one under the key with an attempt",
        ["SCF-DIG-017", "SCF-LAYOUT-012"],
        "read",
        [step("read", rejected("asset.missing"), paths=[], assets=["config.json"])],
        kind="invalid",
        fault="The asset under the key with an attempt is not in the store.",
        sibling="assets-displaced",
        files=files,
    )


def _damaged() -> Iterator[Case]:
    draft = scalars(assets=ASSETS)
    rows: tuple[tuple[str, str, str, str, Change | None, str], ...] = (
        ("missing", "config.json", "asset.missing", "SCF-DIG-017", None, "The asset is not in the store."),
        (
            "missing-deep",
            "tokenizer/deep/er/still.bin",
            "asset.missing",
            "SCF-DIG-017",
            None,
            "The asset is not in the store.",
        ),
        (
            "missing-empty",
            "empty",
            "asset.missing",
            "SCF-DIG-017",
            None,
            "The asset, which has no bytes, is not in the store.",
        ),
        (
            "longer",
            "config.json",
            "asset.size",
            "SCF-DIG-016",
            lambda data: data + b"\n",
            "A line feed follows the asset.",
        ),
        (
            "shorter",
            "config.json",
            "asset.size",
            "SCF-DIG-016",
            lambda data: data[:-1],
            "The last byte of the asset is missing.",
        ),
        ("emptied", "config.json", "asset.size", "SCF-DIG-016", lambda _: b"", "The asset has no bytes in the store."),
        (
            "not-empty",
            "empty",
            "asset.size",
            "SCF-DIG-016",
            lambda _: b"\x00",
            "The asset without bytes has one in the store.",
        ),
        ("flipped", "config.json", "asset.digest", "SCF-DIG-005", lambda _: b"{|", "A bit of the asset is flipped."),
        (
            "last-byte",
            "tokenizer/deep/er/still.bin",
            "asset.digest",
            "SCF-DIG-005",
            lambda data: data[:-1] + bytes([data[-1] ^ 128]),
            "A bit of the asset's last byte is flipped.",
        ),
        (
            "line-ends",
            "tokenizer/vocab.txt",
            "asset.digest",
            "SCF-DIG-005",
            lambda _: b"a\rb\n",
            "A line end of the asset is another one.",
        ),
    )
    for name, asset, code, requirement, change, fault in rows:
        files = checkpoint(draft)
        if change is None:
            del files[f"c/model/{asset}"]
        else:
            files[f"c/model/{asset}"] = change(files[f"c/model/{asset}"])
        others = [each for each in ASSETS if each != asset]
        item = draft.items["model"]
        yield Case(
            f"assets-{name}",
            f"A damaged asset stops those who ask for it, and nobody else: {fault[0].lower()}{fault[1:-1]}",
            [requirement, "SCF-CONV-002"],
            "read",
            [
                step("inspect", ok(**inspected(draft))),
                step("read", ok(**read_values(item, assets=others)), assets=others),
                step("read", rejected(code), paths=[], assets=[asset]),
                step("read", rejected(code), assets=[*others, asset]),
            ],
            kind="invalid",
            fault=fault,
            sibling="assets",
            files=files,
        )
    yield Case(
        "assets-much-longer",
        "An asset that is 256 MiB longer than the root says is not read whole",
        ["SCF-DIG-016", "SCF-SEC-007"],
        "read",
        [step("read", rejected("asset.size"), paths=[], assets=["config.json"])],
        kind="invalid",
        fault="256 MiB follow the asset.",
        sibling="assets",
        files=checkpoint(draft),
        stores={"main": {"pads": [{"path": "c/model/config.json", "byte": 32, "count": 256 * MIB}]}},
        timeout=60,
        memory=100 * MIB,
    )
