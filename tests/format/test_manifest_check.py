"""What a manifest's tables must be together: exact tilings, their order, objects covered to the last byte."""

from __future__ import annotations

import random

import numpy as np
import pytest
from manifest_cases import (
    ATTEMPT,
    BLOCK,
    ITEM,
    code_of,
    column,
    decode,
    full_manifest,
    make_manifest,
    opened,
    plain,
)

from pyckpt.errors import Corrupt
from pyckpt.format.geometry import Box, Region
from pyckpt.format.manifest import (
    encode_manifest,
)
from pyckpt.format.manifest_check import check_manifest
from pyckpt.format.msgpack_strict import pack
from pyckpt.format.shard_table import ObjectRow

LAYOUTS = {
    "rows": [Box((0, 0), (3, 8)), Box((3, 0), (1, 8)), Box((4, 0), (4, 8))],
    "columns": [Box((0, 0), (8, 3)), Box((0, 3), (8, 5))],
    "grid": [Box((0, 0), (4, 4)), Box((0, 4), (4, 4)), Box((4, 0), (4, 4)), Box((4, 4), (4, 4))],
}


def layouts():
    cases = [[Region.of_box(box) for box in boxes] for boxes in LAYOUTS.values()]
    cases.append([Region.flat((8, 8), a, b) for a, b in ((0, 5), (5, 6), (6, 64))])
    cases.append([Region(LAYOUTS["rows"][0], 0, 10), Region(LAYOUTS["rows"][0], 10, 24), *cases[0][1:]])
    cases.append([Region(LAYOUTS["columns"][0], 0, 10), Region(LAYOUTS["columns"][0], 10, 24), *cases[1][1:]])
    return cases


def covered(regions, shape):
    count = np.zeros(shape, dtype=int)
    for region in regions:
        part = np.zeros(region.box.volume, dtype=int)
        part[region.start : region.stop] = 1
        where = tuple(slice(a, a + n) for a, n in zip(region.box.offset, region.box.size, strict=True))
        count[where] += part.reshape(region.box.size)
    return bool((count == 1).all())


@pytest.mark.parametrize("seed", range(60))
def test_tiling_of_many_tensors(seed):
    rng = random.Random(seed)
    chosen = [list(rng.choice(layouts())) for _ in range(6)]
    broken = rng.randrange(6)
    kind = seed % 4
    if kind == 1:
        chosen[broken].pop(rng.randrange(len(chosen[broken])))
    elif kind == 2:
        chosen[broken].append(rng.choice(chosen[broken]))
    elif kind == 3:
        at = rng.randrange(len(chosen[broken]))
        region = chosen[broken][at]
        chosen[broken][at] = rng.choice([Region(region.box, region.start, region.stop - 1), Region.whole((8, 8))])
    good = all(covered(regions, (8, 8)) for regions in chosen)
    assert good == (kind == 0)
    manifest = make_manifest(
        [(f"t{i}", "U8", (8, 8)) for i in range(6)],
        [(i, region, False) for i, regions in enumerate(chosen) for region in regions],
    )
    back = decode(encode_manifest(manifest))
    if good:
        check_manifest(back)
    else:
        with pytest.raises(Corrupt) as caught:
            check_manifest(back)
        assert caught.value.code == "tiling.inexact"
        assert caught.value.key == f"t{broken}"


def test_boxes_with_the_right_number_of_elements_in_the_wrong_place():
    regions = [Region.of_box(Box((0, 0), (8, 4))), Region.of_box(Box((4, 0), (4, 8)))]
    with pytest.raises(Corrupt) as caught:
        opened(make_manifest([("t", "U8", (8, 8))], [(0, region, False) for region in regions]))
    assert caught.value.code == "tiling.inexact"


@pytest.mark.parametrize(
    "region",
    [
        Region.of_box(Box((0, 0), (9, 1))),
        Region.of_box(Box((1, 0), (8, 8))),
        Region.of_box(Box((9, 0), (1, 8))),
        Region(Box((0, 0), (2, 2)), 2, 5),
        Region(Box((0, 0), (2, 2)), 3, 2),
        Region(Box((0, 0), (2, 2)), 2, 2),
    ],
)
def test_regions_outside_their_tensor(region):
    with pytest.raises(Corrupt) as caught:
        make_manifest([("t", "U8", (8, 8))], [(0, region, False)])
    assert caught.value.code == "manifest.schema"


def test_missing_and_superfluous_shards():
    for pieces, message in (([], "no shards"), ([(0, Region.flat((4,), 0, 3), False)], "only shard")):
        with pytest.raises(Corrupt, match=message):
            opened(make_manifest([("t", "U8", (4,))], pieces))
    with pytest.raises(Corrupt, match="several shards"):
        opened(make_manifest([("t", "U8", (0,))], [(0, None, False)] * 2))


def test_order():
    record = plain(full_manifest())
    for name, kind in (("tensor", "<u4"), ("object", "<u4"), ("offset", "<u8"), ("stored_size", "<u8"), ("codec", "<u2")):
        numbers = column(record, "shards", name, kind)
        numbers[[1, 2]] = numbers[[2, 1]]
        record["shards"]["columns"][name] = numbers.tobytes()
    for name in ("run_start", "run_stop"):
        numbers = column(record, "shards", name, "<u8")
        numbers[[1, 2]] = numbers[[2, 1]]
        record["shards"]["columns"][name] = numbers.tobytes()
    digest = record["shards"]["columns"]["block_digest"]
    record["shards"]["columns"]["block_digest"] = digest[:64] + digest[96:160] + digest[64:96] + digest[160:]
    assert code_of(record) == "manifest.schema"
    record = plain(full_manifest())
    tensor = column(record, "shards", "tensor", "<u4")
    tensor[[3, 4]] = tensor[[4, 3]]
    record["shards"]["columns"]["tensor"] = tensor.tobytes()
    assert code_of(record) == "manifest.schema"


def elsewhere(size):
    return ObjectRow(None, f"old/m/{ATTEMPT}-00000.safetensors", size + 8192, 4096, b"h" * 32, "sha256", BLOCK)


def test_objects_of_other_checkpoints_need_no_cover():
    pieces = [(0, None, False), (1, None, False)]
    rows = [("a", "U8", (16,)), ("b", "U8", (16,))]
    assert opened(make_manifest(rows, pieces, objects=lambda size: (elsewhere(size),))).objects[0].key is None
    record = plain(make_manifest(rows, pieces, objects=lambda size: (elsewhere(size),)))
    record["shards"]["columns"]["offset"] = np.array([4096, 4100], dtype="<u8").tobytes()
    assert code_of(record) == "manifest.schema"
    record["shards"]["columns"]["offset"] = np.array([4096, 5000], dtype="<u8").tobytes()
    check_manifest(decode(pack(record)))
    record["objects"][0]["size"] = 5016
    check_manifest(decode(pack(record)))
    for size in (5015, 5000, 4999):
        record["objects"][0]["size"] = size
        assert code_of(record) == "manifest.schema"


@pytest.mark.parametrize("offsets", [(4096, 4113), (4097, 4113), (4096, 4111), (4112, 4112), (4000, 4112)])
def test_own_objects_have_neither_hole_nor_overlap(offsets):
    record = plain(make_manifest([("a", "U8", (16,)), ("b", "U8", (16,))], [(0, None, False), (1, None, False)]))
    record["objects"][0]["size"] += 1 if offsets[1] == 4113 else 0
    record["shards"]["columns"]["offset"] = np.array(offsets, dtype="<u8").tobytes()
    assert code_of(record) == "manifest.schema"


@pytest.mark.parametrize("change", [-1, 1, 4096])
def test_own_objects_end_with_their_last_shard(change):
    record = plain(make_manifest([("a", "U8", (16,)), ("b", "U8", (16,))], [(0, None, False), (1, None, False)]))
    record["objects"][0]["size"] += change
    assert code_of(record) == "manifest.schema"


def test_an_own_object_without_shards_has_no_data():
    record = plain(make_manifest([("a", "U8", (16,))], [(0, None, False)]))
    record["objects"].append({**record["objects"][0], "key": f"{ITEM}/{ATTEMPT}-00001.safetensors", "size": 4096})
    check_manifest(decode(pack(record)))
    record["objects"][1]["size"] = 4097
    assert code_of(record) == "manifest.schema"
    record["objects"][1] = record["objects"][0]
    assert code_of(record) == "manifest.schema"


@pytest.mark.parametrize(
    "region",
    [
        Region.flat((4, 4), 0, 3),
        Region.of_box(Box((0, 0), (4, 1))),
        Region.of_box(Box((0, 1), (4, 2))),
        Region(Box((0, 0), (4, 2)), 1, 8),
    ],
)
def test_types_below_a_byte_are_cut_where_bytes_end(region):
    with pytest.raises(Corrupt, match="byte"):
        make_manifest([("q", "F4", (4, 4))], [(0, region, False)])


def test_uneven_rows_of_types_below_a_byte():
    with pytest.raises(Corrupt, match="byte"):
        make_manifest([("q", "F4", (3, 3))], [])
    opened(make_manifest([("q", "F4", (4, 3))], [(0, Region.flat((4, 3), *run), False) for run in ((0, 6), (6, 12))]))
    with pytest.raises(Corrupt, match="byte"):
        make_manifest([("q", "F4", (4, 3))], [(0, Region.of_box(Box((0, 0), (2, 3))), False)])
    with pytest.raises(Corrupt, match="byte"):
        make_manifest([("q", "F4", (4, 3))], [(0, Region.of_box(Box((0, 0), (1, 3))), False)])
    with pytest.raises(Corrupt, match="byte"):
        make_manifest([("q", "F4", (4, 3))], [(0, Region.of_box(Box((0, 0), (4, 2))), False)])


def test_sums_that_wrap_around_are_seen():
    record = plain(make_manifest([("a", "U8", (4 * BLOCK,))], [(0, None, True)]))
    stored = 2**63 - 1 - 4096
    sizes = [stored, stored, stored, 2**64 - 2 * stored]
    assert sum(sizes) % 2**64 == stored
    record["objects"][0]["size"] = 2**63 - 1
    record["shards"]["columns"]["stored_size"] = np.array([stored], dtype="<u8").tobytes()
    record["shards"]["columns"]["block_stored_size"] = np.array(sizes, dtype="<u8").tobytes()
    assert code_of(record) == "manifest.schema"
    sizes = [stored - 3, 1, 1, 1]
    record["shards"]["columns"]["block_stored_size"] = np.array(sizes, dtype="<u8").tobytes()
    assert code_of(record) == "manifest.schema"
