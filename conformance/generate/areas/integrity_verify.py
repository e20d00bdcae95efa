"""Deep and shallow verification: each finding of the table of section 12.5."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from ...oracle.encode import Draft, Item, Object, Record, Shard, Tensor, digest, manifest_key
from ...oracle.encode_frame import plain_frame
from ..case import Case, Json, checkpoint, rejected, step
from ..drafts import STEP, ZSTD, B, W, basic, content, encoded, one, tensor, whole
from ..drafts_b import KEY, damage, filled, flip, found, key, only, reading, sound, sound_step, unsound, verify_step
from ..forms import dtypes

__all__ = ["cases"]

MANIFEST = manifest_key("model")
ROOT = "checkpoint.json"
DEEP = ["SCF-DIG-013", "SCF-DIG-014"]


def _both(
    name: str, title: str, fault: str, findings: Mapping[str, object], files: Mapping[str, bytes], *more: str
) -> Case:
    """A fault that a shallow verification finds as well as a deep one."""
    steps = [verify_step(findings, deep=deep) for deep in (True, False)]
    return Case(
        f"integrity-verify-{name}", title, [*DEEP[:1], *more], "integrity", steps, kind="invalid", fault=fault,
        sibling="integrity-verify", files=files, options=["dtype:BF16", "dtype:F32"],
    )  # fmt: skip


def cases() -> Iterator[Case]:
    """All cases of this module."""
    draft = basic()
    yield Case(
        "integrity-verify",
        "A sound checkpoint: deep and shallow",
        DEEP,
        "integrity",
        [sound_step(), sound_step(deep=False), reading(draft.items["model"])],
        files=checkpoint(draft),
        options=dtypes(draft),
    )
    yield from _root(draft)
    yield from _manifests(draft)
    yield from _assets(draft)
    yield from _counts(draft)
    yield from _depth(draft)
    yield from _decoded()
    yield from _foreign(draft)


def _root(draft: Draft) -> Iterator[Case]:
    name = ("c", ROOT)
    yield _both(
        "root-missing", "No root: a finding, not a refusal", "The root is not in the store.",
        {"$set": [found("checkpoint.missing", *name)]}, checkpoint(draft.with_(drop=(ROOT,))), "SCF-MODEL-001",
    )  # fmt: skip
    yield _both(
        "root-damaged", "A damaged root ends the verification", "A bit of the root is changed.",
        {"$set": [found("root.digest", *name)]}, damage(draft, ROOT, 300), "SCF-ROOT-005",
    )  # fmt: skip
    data = checkpoint(draft)["c/checkpoint.json"].replace(b'{"scf":1,', b'{"scf":2,')
    yield _both(
        "root-of-later-version", "The root is of another major version", 'The root begins {"scf":2,.',
        {"$set": [found("version.unsupported", *name)]}, {**checkpoint(draft), "c/checkpoint.json": data},
        "SCF-ROOT-003",
    )  # fmt: skip

    def needs(members: Record) -> None:
        members["features"] = {"read": ["x-later"], "write": ["x-later"]}

    yield _both(
        "root-of-later-feature", "The root needs a feature that nobody knows", "features.read has x-later.",
        {"$set": [found("feature.unsupported", *name, "x-later")]}, checkpoint(draft.with_(members=needs)),
        "SCF-ROOT-023",
    )  # fmt: skip

    def negative(members: Record) -> None:
        members["sequence"] = 0

    yield _both(
        "root-schema", "A member of the root is out of its range", "sequence is 0.",
        {"$set": [found("root.schema", *name)]}, checkpoint(draft.with_(members=negative)), "SCF-ROOT-009",
    )  # fmt: skip


def _manifests(draft: Draft) -> Iterator[Case]:
    def schema(record: Record) -> None:
        record["tensors"]["count"] = 3

    faults: dict[str, tuple[str, str, dict[str, bytes]]] = {
        "manifest-missing": (
            "manifest.missing", "The manifest is not in the store.", checkpoint(draft.with_(drop=(MANIFEST,))),
        ),
        "manifest-size": (
            "manifest.size", "The manifest has a byte more.",
            checkpoint(draft.with_item("model", stored=lambda data: data + b"\0")),
        ),
        "manifest-digest": ("manifest.digest", "A bit of the manifest is changed.", damage(draft, MANIFEST, 100)),
        "manifest-frame": (
            "manifest.frame", "A byte follows the frame.",
            checkpoint(draft.with_item("model", frame=lambda raw: plain_frame(raw) + b"\0")),
        ),
        "manifest-syntax": (
            "manifest.syntax", "The manifest has a byte behind its map.",
            checkpoint(draft.with_item("model", raw=lambda raw: raw + b"\xc0")),
        ),
        "manifest-schema": (
            "manifest.schema", "The table of tensors says that it has three rows, and has two.",
            checkpoint(draft.with_item("model", record=schema)),
        ),
        "digest-missing": (
            "digest.missing", "The column block_digest is absent.",
            checkpoint(draft.with_item("model", record=lambda record: record["shards"]["columns"].pop("block_digest"))),
        ),
        "tree-schema": (
            "tree.schema", "The tree has no reference to the tensor b.",
            checkpoint(basic(tree={"w": tensor(0), **STEP})),
        ),
        "tiling": (
            "tiling.inexact", "The second row of w is missing.", checkpoint(basic(shards=_first_row())),
        ),
        "limit": (
            "limit.exceeded", "raw_size is 2^40.", checkpoint(draft.with_(members=_huge)),
        ),
    }  # fmt: skip
    for name, (code, fault, files) in faults.items():
        about = ("w",) if name == "tiling" else (MANIFEST, "model")
        yield _both(name, f"A finding about a manifest: {code}", fault, only(code, *about), files)
    yield from _items()


def _first_row() -> tuple[Shard, ...]:
    given = basic().items["model"].shards
    assert given
    return (given[0], given[2])


def _huge(members: Record) -> None:
    members["items"]["model"]["raw_size"] = 1 << 40


def _items() -> Iterator[Case]:
    """A damaged manifest ends the verification of its item, and of no other."""
    items = {"model": Item((W,)), "optimizer": Item((B,), kind="optimizer"), "other": Item((W, B))}
    draft = Draft(items, metadata=STEP)
    files = damage(draft, MANIFEST, 50)
    optimizer, other = key(0, "optimizer"), key(0, "other")
    files[f"c/{optimizer}"] = flip(files[f"c/{optimizer}"], 4096)
    del files[f"c/{other}"]
    yield Case(
        "integrity-verify-items",
        "Three items with a fault each: a damaged manifest, a damaged block, a missing object",
        ["SCF-DIG-013", "SCF-OPEN-001"],
        "integrity",
        [
            verify_step(
                {
                    "$set": [
                        found("manifest.digest", MANIFEST, "model"),
                        found("block.digest", optimizer, "b"),
                        found("object.missing", other),
                    ]
                }
            )
        ],
        kind="invalid",
        fault="Each item has one of the three.",
        sibling="integrity-verify",
        files=files,
        options=["dtype:BF16", "dtype:F32"],
    )


def _assets(draft: Draft) -> Iterator[Case]:
    asset = "model/config.json"
    files = checkpoint(draft)
    missing = {name: data for name, data in files.items() if name != f"c/{asset}"}
    yield _both(
        "asset-missing", "An asset is gone", "The asset is not in the store.",
        {"$set": [found("asset.missing", asset)]}, missing, "SCF-DIG-017",
    )  # fmt: skip
    yield _both(
        "asset-size", "An asset of another size", "The asset has a byte more.",
        {"$set": [found("asset.size", asset)]}, {**files, f"c/{asset}": b"{}\n"}, "SCF-DIG-016",
    )  # fmt: skip
    damaged = {**files, f"c/{asset}": b"[]"}
    yield Case(
        "integrity-verify-asset-digest",
        "An asset with other bytes: a deep verification finds it, a shallow one does not look",
        ["SCF-DIG-013", "SCF-DIG-005"],
        "integrity",
        [verify_step({"$set": [found("asset.digest", asset)]}), sound_step(deep=False)],
        kind="invalid",
        fault="The asset has other bytes.",
        sibling="integrity-verify",
        files=damaged,
        options=dtypes(draft),
    )


def _counts(draft: Draft) -> Iterator[Case]:
    for name in ("tensors", "shards", "objects", "bytes"):
        for by in (1, -1):

            def counted(members: Record, name: str = name, by: int = by) -> None:
                members["items"]["model"]["counts"][name] += by

            what = "one more" if by > 0 else "one less"
            yield _both(
                f"count-of-{name}-{'more' if by > 0 else 'less'}",
                f"The root counts {what} of {name} than the manifest has",
                f"counts.{name} is {what} than the manifest has.",
                only("manifest.schema", MANIFEST, "model", ROOT),
                checkpoint(draft.with_(members=counted)),
                "SCF-ROOT-014",
            )


def _depth(draft: Draft) -> Iterator[Case]:
    for name, at in (("block", 4096), ("header", 20)):
        code = "block.digest" if name == "block" else "object.header_digest"
        yield Case(
            f"integrity-verify-{name}",
            f"A damaged {name}: a deep verification finds it, a shallow one does not look",
            ["SCF-DIG-013"],
            "integrity",
            [verify_step({"$set": [found(code, KEY)]}), sound_step(deep=False)],
            kind="invalid",
            fault=f"A bit of the {name} is changed.",
            sibling="integrity-verify",
            files=damage(draft, KEY, at),
            options=dtypes(draft),
        )
    made = Draft(
        {"model": Item((W, B), shards=(Shard(0), Shard(1, object=1)), objects=(Object(), Object(number=1)))},
        metadata=STEP,
    )
    files = checkpoint(made)
    for number in (0, 1):
        changed = flip(files[f"c/{key(number)}"], 4096)
        files[f"c/{key(number)}"] = flip(changed, 9)
    yield Case(
        "integrity-verify-all",
        "Header and block of two objects are damaged: four findings",
        ["SCF-DIG-013"],
        "integrity",
        [
            verify_step(
                {"$set": [found(code, key(at)) for at in (0, 1) for code in ("object.header_digest", "block.digest")]}
            )
        ],
        kind="invalid",
        fault="A bit of each header and of each block is changed.",
        sibling="integrity-verify",
        files=files,
        options=dtypes(made),
    )
    many = _blocks()
    size = len(checkpoint(many)[f"c/{KEY}"])
    broken = damage(many, KEY, 4096)
    for at in range(4096 * 2, size, 4096):
        broken[f"c/{KEY}"] = flip(broken[f"c/{KEY}"], at)
    count = len(range(4096, size, 4096))
    yield Case(
        "integrity-verify-every-block",
        f"All {count} blocks of a tensor are damaged: at least one finding, and the other tensor is none",
        ["SCF-DIG-013"],
        "integrity",
        [verify_step(only("block.digest", KEY, "w", most=count)), reading(many.items["model"], [("b",)])],
        kind="invalid",
        fault="A bit of every block of w is changed.",
        sibling="integrity-verify",
        files=broken,
        options=dtypes(many),
    )


def _blocks() -> Draft:
    w = filled("w", "U8", (5 * 4096 - 6,))
    return one(w, B, shards=(Shard(0), Shard(1, object=1)), objects=(Object(), Object(number=1)))


def _decoded() -> Iterator[Case]:
    draft = encoded()
    yield sound("integrity-decoded", "Digests of decoded bytes", ["SCF-DIG-020", "SCF-DIG-013"], draft)

    def wrong(record: Record) -> None:
        table = record["shards"]["columns"]
        table["decoded_digest"] = flip(table["decoded_digest"], 40)

    files = checkpoint(draft.with_item("model", record=wrong))
    steps = [verify_step(only("block.digest", KEY, "w")), sound_step(deep=False)]
    yield Case(
        "integrity-decoded-digest",
        "A decoded digest that is wrong: a deep verification finds it",
        ["SCF-DIG-020", "SCF-DIG-013"],
        "integrity",
        steps,
        kind="invalid",
        fault="The decoded digest of the second block of w is wrong.",
        sibling="integrity-decoded",
        files=files,
        options=dtypes(draft),
    )
    yield Case(
        "integrity-decoded-digest-read",
        "A decoded digest that is wrong: reading need not look at it",
        ["SCF-DIG-020"],
        "read",
        [step("read", [reading(draft.items["model"])["expect"], rejected("block.digest")])],
        kind="acceptable",
        files=files,
        options=dtypes(draft),
    )
    stored = encoded().items["model"].tensors[0].data

    def of_stored(record: Record) -> None:
        """Digests of the stored bytes in place of those of the decoded ones."""
        table = record["shards"]["columns"]
        blocks = [plain_frame(stored[at : at + 4096]) for at in range(0, len(stored), 4096)]
        table["decoded_digest"] = b"".join(digest("blake3", block) for block in blocks)

    yield unsound(
        "integrity-decoded-digest-of-stored",
        "Decoded digests that are of the stored bytes",
        "The decoded digests of w are those of its stored blocks.",
        "block.digest",
        ["SCF-DIG-020"],
        "integrity-decoded",
        draft.with_item("model", record=of_stored),
        about=(KEY, "w"),
    )
    data = content(700)
    broken = one(
        Tensor("w", "U8", (700,), data), B, shards=(Shard(1), Shard(0, codec=1, encode=lambda _: data)),
        codecs=((), (ZSTD,)),
    )  # fmt: skip
    yield unsound(
        "integrity-verify-codec",
        "A block that does not decode",
        "The block of w is stored as it is under the codec zstd.",
        "block.codec",
        ["SCF-DIG-013", "SCF-CODEC-007"],
        "integrity-decoded",
        broken,
        about=(KEY, "w"),
    )


def _foreign(draft: Draft) -> Iterator[Case]:
    others = {
        "c/README.md": b"notes\n",
        "c/SHA256SUMS": b"0" * 64 + b"  checkpoint.json\n",
        "c/model/0123456789abcdef-00000.safetensors": b"left over",
        "c/model/manifest-0123456789abcdef.msgpack.zst": b"left over",
        "c/model/tokenizer.json": b"{}",
        "c/optimizer/manifest-0123456789abcdef.msgpack.zst": b"left over",
        "c/.attempt-0123456789abcdef": b"{}",
        "c/model/3f9c2a71d0b84e55-00001.safetensors": b"no object of the manifest",
        "c.json": b"[]",
        "notes/a/b": b"",
    }
    steps: list[Json] = [sound_step(), sound_step(deep=False), reading(draft.items["model"])]
    yield Case(
        "integrity-verify-foreign",
        "Objects that the root does not reach are no findings",
        ["SCF-LAYOUT-012", "SCF-DIG-013"],
        "integrity",
        steps,
        files={**checkpoint(draft), **others},
        options=dtypes(draft),
    )
    empty = whole().with_(items={})
    yield Case(
        "integrity-verify-without-items",
        "A checkpoint without items is sound",
        DEEP,
        "integrity",
        [sound_step(), sound_step(deep=False)],
        files=checkpoint(empty),
    )
