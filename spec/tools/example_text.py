"""The text of chapter 19; every number in it is taken from the bytes."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence

from blake3 import blake3
from example_bytes import DTYPES, DataObject, Example, numbers, sha256
from example_parts import Part, dump
from example_reading import TENSOR, WANTED, elements, global_boxes, rows
from example_state import ASSET, ASSET_NAME, ATTEMPT, CHECKPOINT, SHARDS, TENSORS, Shard

__all__ = ["chapter_text"]

MINUS = "\N{MINUS SIGN}"


def _table(head: str, lines: Iterable[Sequence[object]]) -> str:
    count = head.count("|") + 1
    made = [f"| {head} |", "| " + " | ".join(["---"] * count) + " |"]
    made += ["| " + " | ".join(map(str, line)) + " |" for line in lines]
    return "\n".join(made)


def _range(begin: int, size: int) -> str:
    return f"[{begin}, {begin + size})"


def _region(shard: Shard) -> str:
    box = f"box {shard.box.text()}"
    if shard.box == TENSORS[shard.tensor].whole():
        box = "whole"
    return box if shard.whole_run else f"{box}, run [{shard.start}, {shard.stop})"


def _held(tensor: int, writer: int) -> str:
    held = [_region(shard) for shard in SHARDS if (shard.tensor, shard.writer) == (tensor, writer)]
    return held[0] if held else "-"


def chapter_text(example: Example) -> str:
    """The whole chapter."""
    parts = (
        _opening(), _state(), _store(example), *(_object(each) for each in example.objects),
        _manifest(example), _frame(example), _root(example), _digest(example), _reading(example),
    )  # fmt: skip
    return "\n\n".join(parts) + "\n"


def _opening() -> str:
    return f"""# 19. Worked example

*This chapter is informative.* One whole checkpoint, down to the last byte. It is small, so that a new reader or
writer can be compared with it field by field.

- The bytes are in [example/](example/), which is a store with one checkpoint, `{CHECKPOINT}`.
- The program [tools/worked_example.py](tools/worked_example.py) wrote them and this chapter, from the text of the
  specification and without the reference implementation. The project's tests compare the two.
- The attempt and the time are fixed. The manifest's frame holds a raw block, which any Zstandard decoder accepts: a
  compressor's output changes from version to version.
- All offsets are decimal. A dump shows the offset, up to 16 bytes, and their meaning."""


def _state() -> str:
    facts = []
    for number, tensor in enumerate(TENSORS):
        values = numbers(tensor.values) or "-"
        facts.append(
            (number, f"`{tensor.name}`", tensor.dtype, list(tensor.shape), values, _held(number, 0), _held(number, 1))
        )
    runs = [shard for shard in SHARDS if shard.tensor == TENSOR]
    owner = {at: shard.writer for shard in runs for at in shard.coordinates()}
    shape = TENSORS[TENSOR].shape
    grid = [(f"row {r}", *(f"writer {owner[r, c]}" for c in range(shape[1]))) for r in range(shape[0])]
    cut = [
        (shard.writer, f"[{shard.start}, {shard.stop})", " and ".join(box.text() for box in global_boxes(shard)))
        for shard in runs
    ]
    return f"""## 19.1 What is saved

Two writers save one item, `model`. Its tensors, and the regions that each writer stores:

{_table("number | name | dtype | shape | values in row-major order | stored by writer 0 | stored by writer 1", facts)}

- `embed.weight` is sharded by rows. `head.weight` is the same tensor under a second name: tied weights.
- `moment` is a flat shard, as an optimizer has it: each writer holds a run of the whole tensor. The cut lies within
  row 1.
- `norm.weight` and `scale` are on both writers and the same. Each is stored once, by one of them; which one is free.
- `unused` has no elements. It has a shard of no bytes, so other tools see its name too.

Who stores which element of `moment`:

{_table(" | ".join(["", *(f"column {c}" for c in range(shape[1]))]), grid)}

As boxes (section 10.2):

{_table("writer | run | boxes", cut)}

The rest of the tree is under `extra`:

{_table("name | node | value | writer 0 has | writer 1 has", (
    ("`step`", "integer", "2", "all of it", "all of it"),
    ("`betas`", "tuple", "(0.9, 0.999)", "all of it", "all of it"),
    ("`seed`", "bigint", "2^64", "all of it", "all of it"),
    ("`saved`", "timestamp", "2026-01-02T03:04:05Z", "all of it", "all of it"),
    ("`cursor`", 'indexed, axis "rank"', "0: 40, 1: 300", "0: 40", "1: 300"),
    ("`seen`", "set", '{"books", "web"}', '{"books"}', '{"web"}'),
    ("`compute`", "dtype", "BF16", "all of it", "all of it"),
))}

The committed tree is the union of the two (section 8.5). The metadata is step = 2, lr = 0.001, loss = NaN, tokens =
2^64. The item has one asset, `{ASSET_NAME}`."""


def _store(example: Example) -> str:
    what = {".json": "the root", ".zst": "the manifest", "00.safetensors": "data object of writer 0",
            "01.safetensors": "data object of writer 1", ASSET_NAME: "the asset"}  # fmt: skip
    lines = []
    for key, data in example.files().items():
        meaning = [text for end, text in what.items() if key.endswith(end)][-1]
        lines.append((f"`{key}`", len(data), meaning, f"`{sha256(data)}`"))
    return f"""## 19.2 The store

{_table("key | bytes | what | SHA-256 of all bytes", lines)}

The attempt marker `{CHECKPOINT}/.attempt-{ATTEMPT}` was there during the save. The committer removed it."""


def _object(each: DataObject) -> str:
    number = each.writer
    text = each.header.decode().replace('},"', '},\n"')
    size = len(each.header)
    length = struct.pack("<Q", each.data_start - 8)
    places = (
        ("[0, 8)", f"N = {each.data_start - 8}, u64: `{length.hex(' ')}`"),
        (_range(8, size), f"JSON, {size} bytes"),
        (_range(8 + size, each.padding), f"{each.padding} times 0x20"),
        (_range(each.data_start, len(each.content) - each.data_start), "data"),
    )
    entries, shown = [], []
    for shard in each.shards:
        tensor, data, begin = TENSORS[shard.tensor], shard.data(), each.offset_of(shard)
        entries.append((
            f"`{shard.entry()}`", tensor.item, shard.header_shape(),
            f"{begin - each.data_start} … {begin - each.data_start + len(data)}", _range(begin, len(data)),
        ))  # fmt: skip
        for first in range(0, len(data), 16):
            count = 16 // tensor.item
            note = numbers(shard.values()[first // tensor.item :][:count])
            head = f"{shard.entry()}: " if first == 0 else "  "
            shown.append(Part(data[first : first + 16], head + note))
    digests = [
        (SHARDS.index(shard), _range(each.offset_of(shard), len(shard.data())), f"`{blake3(shard.data()).hexdigest()}`")
        for shard in each.shards
        if shard.data()
    ]
    notes = {
        0: """\
Entries are in order of falling item size: F64, then the dtypes of four bytes. Nothing is padded between them, and
still each begins at a multiple of its item size. Names: `scale` and `unused` are whole and have their tensors'
names. The region of `embed.weight` is a box, so the name gives the box. That of `moment` is a part of a run, so the
name gives the run too, and the shape is the number of elements.""",
        1: "Entries: F32 and I32, then BF16. `norm.weight` is whole, and any safetensors tool reads it from here.",
    }
    return f"""## 19.{3 + number} The data object of writer {number}

`{each.key}`, {len(each.content)} bytes:

{_table("bytes | content", places)}

The JSON, all ASCII. It is broken here for print; in the object it has no line feeds:

```
{text}
```

{_table("entry | item size | shape | data_offsets | bytes of the object", entries)}

{notes[number]}

The data, with the values:

{dump(shown, each.data_start)}

The block size is 4096, so each shard is one block; the shard without bytes has none. BLAKE3 of each block:

{_table("shard | bytes of the object | digest", digests)}

The header digest is BLAKE3 of the bytes [0, {each.data_start}): `{each.header_digest.hex()}`.""".replace(
        "; the shard without bytes has none" if number else "\0", ""
    )


def _manifest(example: Example) -> str:
    by_key = {section.key: section for section in example.sections}

    def shown(*keys: str) -> str:
        parts = [part for key in keys for part in by_key[key].parts]
        return dump(parts, by_key[keys[0]].start)

    scalar = next(number for number, tensor in enumerate(TENSORS) if not tensor.shape)
    alone = next(number for number, shard in enumerate(SHARDS) if shard.tensor == scalar)
    count = sum(len(TENSORS[shard.tensor].shape) for shard in SHARDS)
    dims = numbers([len(TENSORS[shard.tensor].shape) for shard in SHARDS]).replace(" ", " + ")
    size = len(example.objects[0].content)
    return f"""## 19.5 The manifest: raw bytes

{len(example.raw)} bytes of MessagePack. MessagePack's own numbers and lengths are big-endian
(`cd {size.to_bytes(2, "big").hex(" ")}` is {size}). Columns and extension payloads are little-endian.

### Top

{shown("scf", "attempt", "item", "dtypes", "codecs")}

The position in `dtypes` is the dtype number: {", ".join(f"{n} is {name}" for n, name in enumerate(DTYPES))}. There
is one codec chain, number 0, and it is empty.

### Tensors

{shown("tensors")}

The shapes stand one after the other; `ndim` says which numbers belong to which tensor. Tensor {scalar} is a scalar
and has none.

### Data objects

{shown("objects")}

### Shards

{shown("shards")}

- The box columns have {dims} = {count} numbers. Shard {alone}, of the scalar, has none.
- Both box columns are present because the boxes of shards 0 and 1 are not whole. Both run columns are present
  because the runs of shards 2 and 3 are not. A column is there for all shards or for none.
- `stored_size`, `codec`, `entry_size` and `entry` are absent: all bytes are stored as they are, and all entry names
  are derived.
- The order is by tensor, then by box offset, then by the run's start. So shard 0 lies in object 0 and shard 1 in
  object 1.

All columns as one table, with what follows from them:

{_shards(example)}

### Tree

{shown("tree")}

`embed.weight` and `head.weight` are two references to tensor 0."""


def _shards(example: Example) -> str:
    lines = []
    for number, shard in enumerate(SHARDS):
        begin, size = example.objects[shard.writer].offset_of(shard), len(shard.data())
        box = f"{list(shard.box.offset)} | {list(shard.box.size)}"
        lines.append((
            number, f"{shard.tensor}, `{TENSORS[shard.tensor].name}`", shard.writer, box,
            f"[{shard.start}, {shard.stop})", size, _range(begin, size), -(-size // 4096), f"`{shard.entry()}`",
        ))  # fmt: skip
    head = "shard | tensor | object | box offset | box size | run | stored size | bytes of the object | blocks | entry"
    return _table(head, lines)


def _frame(example: Example) -> str:
    head = sum(len(part.data) for part in example.frame)
    return f"""## 19.6 The manifest: stored bytes

`{example.manifest_key}` is one Zstandard frame of {len(example.stored)} bytes: {head} bytes of its own, then the
{len(example.raw)} raw bytes.

{dump(example.frame)}

- The descriptor 0x60 has the bits 01 1 0 0 0 00. The first two say that the content size has 2 bytes. The third is
  the single-segment flag: there is no window descriptor, and the window is the content. No checksum, no dictionary.
- A content size of 2 bytes counts from 256 (RFC 8878).
- The block header is 24 bits, little-endian: bit 0 is "last", bits 1 and 2 are the type (0 is raw), the others the
  size. A raw block has at most 131,072 bytes.

SHA-256 of these {len(example.stored)} bytes goes into the root: `{sha256(example.stored)}`."""


def _root(example: Example) -> str:
    counts = sum(len(shard.data()) for shard in SHARDS)
    return f"""## 19.7 The root

`checkpoint.json`, {len(example.root)} bytes of UTF-8. Any whitespace is allowed after byte 84, so the lines are
broken and indented for people. It ends with a line feed.

```json
{example.root.decode().rstrip()}
```

- NaN and 2^64 are tagged objects: JSON has no NaN, and parsers round large integers. 0.001 is the shortest text of
  its binary64.
- `raw_size` is {len(example.raw)}, the content size of the frame. `counts.bytes` is {counts}: each tensor once,
  tied or not.
- The asset is `{ASSET.decode().rstrip()}` and a line feed, {len(ASSET)} bytes: `{ASSET.hex(" ")}`."""


def _digest(example: Example) -> str:
    root = example.root
    parts = (
        Part(root[:19], "fixed"),
        Part(root[19:83], "the root digest"),
        Part(root[83:85], "fixed"),
        Part(root[85:96], "line feed, space, the other members"),
    )
    return f"""## 19.8 The root digest, step by step

1. Write the root with 64 times `0` for the digest. The line feed after `",` is byte 85.

   ```
   {example.root_zeros.decode().splitlines()[0]}
   ```

2. Take SHA-256 of all {len(root)} bytes: `{example.digest}`.
3. Put its 64 digits into the bytes 19 to 82. Nothing else changes.

The first bytes of the result:

{dump(parts)}

To check it, do the same: put the zeros back and compare. With the usual tools:

```
(head -c 19 checkpoint.json; printf '%064d' 0; tail -c +84 checkpoint.json) | sha256sum
```

The plain SHA-256 of the file is another number (section 19.2). The chain from the digest down to a weight:

{_table("bytes | are covered by", (
    ("the root", f"root digest `{example.digest[:16]}…`"),
    ("the manifest", f"`sha256` in the root, `{sha256(example.stored)[:16]}…`"),
    (f"`{ASSET_NAME}`", f"`sha256` in the root, `{sha256(ASSET)[:16]}…`"),
    *((f"object {each.writer}, [0, {each.data_start})", f"`header_digest`, `{each.header_digest.hex()[:16]}…`")
      for each in example.objects),
    *((f"object {each.writer}, {_range(each.data_start, len(each.content) - each.data_start)}",
       f"`block_digest` of {sum(bool(shard.data()) for shard in each.shards)} blocks")
      for each in example.objects),
))}"""


def _reading(example: Example) -> str:
    tensor = TENSORS[TENSOR]
    inside = {element.g for element in elements(example.objects)}
    columns = range(tensor.shape[1])
    grid = []
    for row in range(tensor.shape[0]):
        values = [tensor.values[row * tensor.shape[1] + column] for column in columns]
        grid.append((f"row {row}", *(f"**{v}**" if (row, c) in inside else v for c, v in enumerate(values))))
    used = sorted({row.shard for row in rows()})
    cut = [
        (n, SHARDS[n].writer, f"[{SHARDS[n].start}, {SHARDS[n].stop})",
         " and ".join(f"`{box.text()}`" for box in global_boxes(SHARDS[n])))
        for n in used
    ]  # fmt: skip
    pieces = [
        (row.shard, f"`{row.box.text()}`", f"`{row.shared.text()}`",
         _range(row.first, row.size), _range(row.to, row.size))
        for row in rows()
    ]  # fmt: skip
    blocks = []
    for n in used:
        shard, each = SHARDS[n], example.objects[SHARDS[n].writer]
        data = shard.data()
        blocks.append((n, 0, f"`{each.key}`", _range(each.offset_of(shard), len(data)), len(data),
                       f"`{blake3(data).hexdigest()[:16]}…`"))  # fmt: skip
    found = list(elements(example.objects))
    loop = [
        (e.p, str(e.g), e.shard, f"{e.position} {MINUS} {SHARDS[e.shard].start} = {e.q}",
         f"object {SHARDS[e.shard].writer}, {_range(e.begin, tensor.item)}",
         f"`{tensor.element(e.g).hex(' ')}`", e.value)
        for e in found
    ]  # fmt: skip
    result = b"".join(tensor.element(e.g) for e in found)
    width = WANTED.size[1]
    lines = [
        Part(result[at : at + width * tensor.item], numbers([e.value for e in found[at // tensor.item :][:width]]))
        for at in range(0, len(result), width * tensor.item)
    ]
    total = sum(len(SHARDS[n].data()) for n in used)
    sizes = [SHARDS[n].stop - SHARDS[n].start for n in used]
    return f"""## 19.9 Reading a region across both objects

Wanted: rows 1 and 2, columns 1 and 2 of `moment`. The region is the box {WANTED.text()} with its whole run.

{_table(" | ".join(["", *(f"column {c}" for c in columns)]), grid)}

**Open.** Get `checkpoint.json` ({len(example.root)} bytes) and check it.
Get the manifest ({len(example.stored)} bytes), check its SHA-256, unfold it, check it.
The data objects' headers are not needed.

**Find.** The tree's `moment` is tensor {TENSOR}. Bisection in the column `tensor` gives the
shards {used[0]} and {used[1]}. Their runs as boxes, in coordinates of the tensor:

{_table("shard | object | run | boxes", cut)}

Together they have {" + ".join(map(str, sizes))} = {sum(sizes)} elements, each index of the tensor once: the tiling
is exact.

**Intersect.** Each box with the wanted one (section 10.4). A row of the table is contiguous on both sides:

{_table("shard | box of the shard | shared with the region | shard's decoded bytes | result's bytes", pieces)}

**Fetch.** Both shards have one block and codec 0. A digest covers a whole block, so whole blocks are read: {total}
bytes for the {len(result)} that are wanted. Each is hashed and compared before a byte of it is used.

{_table("shard | block | object | bytes of the object | bytes read | digest", blocks)}

**Copy.** The result has {len(result)} bytes:

{dump(lines)}

The same by the definition of section 15.1, element by element. Here o' and z' are the box of shard S, and a' its
run's start:

{_table(f"p | g | S | q = flat(g {MINUS} o', z') {MINUS} a' | bytes of the object | bytes | value", loop)}"""
