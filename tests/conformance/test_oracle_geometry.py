"""Regions, tilings and reading, against plain indexing and counting."""

from __future__ import annotations

import random
import time
from math import prod

import pytest
from oracle_drafts import Draft, Item, Object, Shard, Tensor, codes, cut, opened, store_of

from conformance.oracle import encode_region
from conformance.oracle.codecs import decoder
from conformance.oracle.errors import Rejected
from conformance.oracle.limits import DEFAULT, Limits
from conformance.oracle.reading import read_region
from conformance.oracle.regions import Region, boxes, region_boxes, shared, whole
from conformance.oracle.tiling import tiles


def coordinates(size, position):
    found = []
    for length in reversed(size):
        position, last = divmod(position, length)
        found.append(last)
    return tuple(reversed(found))


def indices(region: Region) -> list[tuple[int, ...]]:
    """The indices of a region's elements, in order, by the definition of section 10.1."""
    return [
        tuple(a + b for a, b in zip(region.offset, coordinates(region.size, position)))
        for position in range(region.start, region.stop)
    ]


def random_region(rng: random.Random, shape: tuple[int, ...]) -> Region:
    offset = tuple(rng.randrange(length) for length in shape)
    size = tuple(rng.randint(1, length - begin) for length, begin in zip(shape, offset))
    if rng.random() < 0.3:
        offset, size = (0,) * len(shape), shape
    start, stop = sorted(rng.randint(0, prod(size)) for _ in range(2))
    return Region(offset, size, start, stop)


def random_shape(rng: random.Random, most: int = 4) -> tuple[int, ...]:
    return tuple(rng.randint(1, 5) for _ in range(rng.randint(0, most)))


def test_the_examples_of_runs():
    assert boxes((4, 5), 3, 17) == [((0, 3), (1, 2)), ((1, 0), (2, 5)), ((3, 0), (1, 2))]
    assert boxes((3, 4, 5), 7, 53) == [
        ((0, 1, 2), (1, 1, 3)),
        ((0, 2, 0), (1, 2, 5)),
        ((1, 0, 0), (1, 4, 5)),
        ((2, 0, 0), (1, 2, 5)),
        ((2, 2, 0), (1, 1, 3)),
    ]
    assert boxes((4, 5), 6, 9) == [((1, 1), (1, 3))]
    assert boxes((4, 5), 5, 15) == [((1, 0), (2, 5))]
    assert boxes((), 0, 1) == [((), ())]
    assert boxes((), 0, 0) == []


@pytest.mark.parametrize("seed", range(200))
def test_boxes_of_a_run_have_its_elements_in_order(seed):
    rng = random.Random(seed)
    region = random_region(rng, random_shape(rng))
    found = region_boxes(region)
    assert len(found) <= max(1, 2 * len(region.size) - 1)
    inside = [index for offset, size in found for index in indices(Region(offset, size, 0, prod(size)))]
    assert inside == indices(region)


@pytest.mark.parametrize("seed", range(200))
def test_what_two_regions_share(seed):
    rng = random.Random(seed)
    shape = random_shape(rng)
    one, other = random_region(rng, shape), random_region(rng, shape)
    if rng.random() < 0.3:
        other = Region(one.offset, one.size, *sorted(rng.randint(0, one.volume) for _ in range(2)))
    pairs = {(to + n, at + n) for to, at, count in shared(one, other) for n in range(count)}
    mine, others = indices(one), indices(other)
    assert pairs == {(to, others.index(index)) for to, index in enumerate(mine) if index in others}


def random_tiling(rng: random.Random, shape: tuple[int, ...], pieces: int) -> list[Region]:
    """Boxes that tile the shape, some of them cut into runs."""
    found = []
    for offset, size in cut(rng, shape, pieces):
        stops = sorted({prod(size), *(rng.randint(1, prod(size)) for _ in range(rng.choice([0, 0, 1, 3])))})
        found += [Region(offset, size, start, stop) for start, stop in zip([0, *stops], stops)]
    rng.shuffle(found)
    return found


def counted(shape: tuple[int, ...], regions: list[Region]) -> bool:
    every = [index for region in regions for index in indices(region)]
    return sorted(every) == indices(whole(shape))


@pytest.mark.parametrize("seed", range(300))
def test_tilings_against_counting(seed):
    rng = random.Random(seed)
    shape = random_shape(rng)
    regions = random_tiling(rng, shape, rng.randint(1, 40))
    assert tiles(shape, regions, DEFAULT)
    at = rng.randrange(len(regions))
    fault = rng.choice(["drop", "twice", "move", "other", "swap"])
    if fault == "drop":
        regions.pop(at)
    elif fault == "twice":
        regions.append(regions[at])
    elif fault == "move":
        one = regions[at]
        begin = tuple(rng.randint(0, length - size) for length, size in zip(shape, one.size))
        regions[at] = Region(begin, one.size, one.start, one.stop)
    elif fault == "other":
        one = random_region(rng, shape)
        if one.elements:
            regions[at] = one
    else:
        first, second = rng.choice(regions), rng.choice(regions)
        regions = [first if region == second else region for region in regions]
    assert tiles(shape, regions, DEFAULT) == counted(shape, regions)


def test_empty_tensors_and_scalars():
    assert tiles((0, 3), [], DEFAULT)
    assert tiles((0, 3), [whole((0, 3))], DEFAULT)
    assert not tiles((0, 3), [whole((0, 3))] * 2, DEFAULT)
    assert not tiles((0, 3), [Region((0, 1), (0, 2), 0, 0)], DEFAULT)
    assert tiles((), [whole(())], DEFAULT)
    assert not tiles((), [whole(())] * 2, DEFAULT)
    assert not tiles((), [], DEFAULT)
    assert not tiles((1, 1), [], DEFAULT)


def timed(shape, regions) -> bool:
    begin = time.monotonic()
    result = tiles(shape, regions, DEFAULT)
    assert time.monotonic() - begin < 8
    return result


def test_a_gap_and_an_overlap_of_one_size():
    left = Region((0, 0), (2, 4), 0, 8)
    assert not tiles((4, 4), [left, Region((1, 0), (2, 4), 0, 8)], DEFAULT)


def test_64_dimensions_take_no_exponential_time():
    shape = (2,) * 62
    rng = random.Random(1)
    regions = [Region(o, s, 0, prod(s)) for o, s in cut(rng, shape, 400)]
    assert timed(shape, regions)
    one = regions[7]
    regions[7] = Region((0,) * 62, one.size, 0, one.volume)
    assert timed(shape, regions) == (one.offset == (0,) * 62)
    step = 2**62 // 512
    runs = [Region((0,) * 62, shape, at * step + bool(at), (at + 1) * step + (at < 511)) for at in range(512)]
    assert timed(shape, runs)
    crossed = [Region((0,) * 62, shape, 0, 2**61 + 1), Region((1, *(0,) * 61), (1, *shape[1:]), 1, 2**61)]
    assert timed(shape, crossed)


def test_many_shards_take_no_quadratic_time():
    rows = [Region((at, 0), (1, 8), 0, 8) for at in range(40_000)]
    assert timed((40_000, 8), rows)
    assert not timed((40_000, 8), [*rows[:-1], rows[3]])
    flat = [Region((0, 0), (40_000, 8), at * 8, at * 8 + 8) for at in range(40_000)]
    assert timed((40_000, 8), flat)
    grid = [Region((i * 2, j * 3), (2, 3), 0, 6) for i in range(150) for j in range(150)]
    assert timed((300, 450), grid)
    lines = []  # lines along three directions through a cube: no plane misses them all
    n = 20
    for i in range(n):
        for j in range(n):
            lines += [
                Region((0, 2 * i, 2 * j + 1), (2 * n, 1, 1), 0, 2 * n),
                Region((2 * j + 1, 0, 2 * i), (1, 2 * n, 1), 0, 2 * n),
                Region((2 * i, 2 * j + 1, 0), (1, 1, 2 * n), 0, 2 * n),
            ]
    rest = [
        Region((a, b, c), (1, 1, 1), 0, 1)
        for a in range(2 * n)
        for b in range(2 * n)
        for c in range(2 * n)
        if (a % 2, b % 2, c % 2) in {(0, 0, 0), (1, 1, 1)}
    ]
    assert timed((2 * n,) * 3, lines + rest)


def test_the_numbers_of_boxes_are_a_limit_of_the_reader():
    shape = (4, 5)
    regions = [Region((0, 0), (4, 5), 0, 7), Region((0, 0), (3, 5), 7, 15), Region((3, 0), (1, 5), 0, 5)]
    assert not tiles(shape, [*regions[:1], *regions[:1]], DEFAULT)
    assert tiles(shape, regions, Limits(max_box_numbers=16))
    with pytest.raises(Rejected) as caught:
        tiles(shape, regions, Limits(max_box_numbers=15))
    assert (caught.value.code, caught.value.phase) == ("limit.exceeded", "manifest")


def as_encoded(region: Region) -> encode_region.Region:
    return encode_region.Region(region.offset, region.size, (region.start, region.stop))


def plain(tensor: Tensor, region: Region) -> bytes:
    """The bits of a region, picked one element after the other."""
    stream = int.from_bytes(tensor.data, "little")
    bits = 0
    for place, index in enumerate(indices(region)):
        at = 0
        for coordinate, length in zip(index, tensor.shape):
            at = at * length + coordinate
        bits |= (stream >> at * tensor.width & (1 << tensor.width) - 1) << place * tensor.width
    return bits.to_bytes(region.elements * tensor.width // 8, "little")


def stored(rng: random.Random, tensor: Tensor, regions: list[Region]) -> Draft:
    """The tensor, shard by shard, in two objects of blocks of 4096 bytes."""
    shards = tuple(Shard(0, as_encoded(region), object=rng.randrange(2)) for region in regions)
    return Draft(items={"model": Item((tensor,), shards, objects=(Object(0), Object(1, digest="sha256")))})


@pytest.mark.parametrize("seed", range(40))
def test_any_region_of_any_layout(seed):
    rng = random.Random(seed)
    shape = random_shape(rng)
    dtype = rng.choice(["U8", "BF16", "F32", "C128"])
    width = {"U8": 1, "BF16": 2, "F32": 4, "C128": 16}[dtype]
    tensor = Tensor("t", dtype, shape, rng.randbytes(prod(shape) * width))
    item = opened(stored(rng, tensor, random_tiling(rng, shape, rng.randint(1, 12))))
    for _ in range(10):
        region = random_region(rng, shape)
        assert read_region(item, 0, region) == plain(tensor, region)
    assert codes(item.store) == []


@pytest.mark.parametrize("dtype", ["F4", "F6_E2M3"])
@pytest.mark.parametrize("seed", range(15))
def test_regions_of_less_than_a_byte(dtype, seed):
    rng = random.Random(seed)
    unit = 2 if dtype == "F4" else 4
    width = 4 if dtype == "F4" else 6
    aligned = rng.random() < 0.5
    shape = (rng.randint(1, 4), rng.randint(1, 3) * unit) if aligned else (rng.choice([4, 8]), rng.choice([3, 5]))
    tensor = Tensor("t", dtype, shape, rng.randbytes(prod(shape) * width // 8))

    def allowed(region: Region) -> bool:
        sides = (region.offset[-1], region.size[-1], shape[-1])
        in_whole_bytes = region == whole(shape) or region.size == shape or not any(n * width % 8 for n in sides)
        return not (region.start * width % 8 or region.stop * width % 8) and in_whole_bytes

    regions = [whole(shape)]
    for _ in range(50):
        candidates = random_tiling(rng, shape, rng.randint(2, 6))
        if all(map(allowed, candidates)):
            regions = candidates
            break
    item = opened(stored(rng, tensor, regions))
    for _ in range(30):
        region = random_region(rng, shape)
        if allowed(region):
            assert read_region(item, 0, region) == plain(tensor, region)
        else:
            with pytest.raises(Rejected) as caught:
                read_region(item, 0, region)
            assert (caught.value.code, caught.value.phase) == ("state.layout", "plan")


def test_a_shard_of_many_blocks_is_read_by_the_blocks_that_are_needed():
    tensor = Tensor("t", "U8", (100, 1000), random.Random(0).randbytes(100_000))
    store = store_of(Draft(items={"model": Item((tensor,))}))
    item = opened(store)
    assert read_region(item, 0, Region((50, 10), (1, 5), 1, 4)) == tensor.data[50_011:50_014]
    assert [end - begin for _, begin, end in store.asked] == [4096]
    key = next(key for key in store.objects if key.endswith(".safetensors"))
    damaged = bytearray(store.objects[key])
    damaged[4096 + 60_000] ^= 1
    store.objects[key] = bytes(damaged)
    assert read_region(item, 0, Region((50, 10), (1, 5), 0, 5)) == tensor.data[50_010:50_015]
    with pytest.raises(Rejected) as caught:
        read_region(item, 0, Region((60, 0), (1, 1), 0, 1))
    assert caught.value.code == "block.digest"
    assert caught.value.subject == f"{key} t block 14"
    assert read_region(item, 0, whole(tensor.shape), verify=False) != tensor.data


def test_decoders_are_there_for_the_chains_of_the_format():
    assert all(decoder(chain) for chain in ((), ({"id": "zstd"},), ({"id": "planes", "item": 8},)))
