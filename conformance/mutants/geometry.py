"""Bugs in regions, tiling and the placement of elements."""

from __future__ import annotations

from ..oracle import reading, regions, tiling
from .mutant import mutant
from .patching import Patches


@mutant("region-read", hints=["geometry-regions-of-runs", "geometry-runs-of-matrix"])
def takes_end_of_run_for_last_element(oracle: Patches) -> None:
    """Takes the end of a run for its last element when it cuts the run into boxes, and reads one element less."""
    oracle.edit(regions.boxes, "last, y = divmod(stop, row)", "last, y = divmod(stop - 1, row)")


@mutant("region-read", hints=["geometry-regions-of-runs"])
def forgets_tail_of_run(oracle: Patches) -> None:
    """Forgets the last, partial row of a run."""
    oracle.edit(regions.boxes, "if y > 0:", "if False:")


@mutant("region-read", hints=["geometry-regions-of-runs"])
def forgets_head_of_run(oracle: Patches) -> None:
    """Takes the first, partial row of a run for a whole one."""
    oracle.edit(regions.boxes, "        found += _below(first, boxes(inner, x, row))\n", "        pass\n")


@mutant("region-read", hints=["geometry-runs-of-matrix", "geometry-regions-of-runs"])
def forgets_runs_of_shards(oracle: Patches) -> None:
    """Takes the position of an element in a shard's box for its position in the shard, though the run begins later."""
    oracle.edit(regions._rows, "_position(index, stored) - stored.start", "_position(index, stored)")


@mutant("region-read", hints=["geometry-regions-of-rows", "geometry-regions-of-*"])
def ends_boxes_too_early(oracle: Patches) -> None:
    """Forgets the last row or column where a wanted region ends within a shard."""
    oracle.edit(regions._common, "min(a + m, b + n) - begin", "min(a + m - (a + m < b + n and m > 1), b + n) - begin")


@mutant("region-read", hints=["geometry-columns"])
def reads_column_major(oracle: Patches) -> None:
    """Takes the elements of a region to be stored column by column."""
    oracle.edit(
        regions._position,
        "zip(index, region.offset, region.size, strict=True)",
        "zip(index[::-1], region.offset[::-1], region.size[::-1], strict=True)",
    )


@mutant("region-read", hints=["geometry-regions-of-cube-in-boxes", "geometry-cube"])
def strides_wrong_in_three_dimensions(oracle: Patches) -> None:
    """Takes the outermost size for the middle one when it computes positions in three dimensions."""
    oracle.edit(
        regions._position,
        "zip(index, region.offset, region.size, strict=True)",
        "zip(index, region.offset, (*region.size[:1], *region.size[:-2], *region.size[-1:])"
        " if len(region.size) > 2 else region.size, strict=True)",
    )


@mutant("region-read", hints=["geometry-columns"])
def joins_rows_that_are_apart(oracle: Patches) -> None:
    """Copies rows in one piece that are contiguous in the shard but not in the wanted region."""
    oracle.edit(
        regions._rows, "size[split] == wanted.size[split] == stored.size[split]", "size[split] == stored.size[split]"
    )


@mutant("region-read", hints=["geometry-regions-of-whole"])
def forgets_offset_of_wanted_region(oracle: Patches) -> None:
    """Reads from the beginning of each shard, wherever the wanted region begins."""
    oracle.edit(
        regions.shared, "yield start - wanted.start, start - stored.start, stop", "yield start - wanted.start, 0, stop"
    )


@mutant("read", hints=["geometry-scalar"])
def takes_scalars_for_empty(oracle: Patches) -> None:
    """Takes a tensor without dimensions for an empty one."""
    oracle.edit(regions.boxes, "return [((), ())]", "return []")
    oracle.edit(regions.shared, "if wanted.offset == stored.offset and wanted.size", "if wanted.size and wanted.size")


@mutant("region-read", hints=["geometry-request-last-dimension"])
def clips_regions(oracle: Patches) -> None:
    """Cuts a wanted region that leaves its tensor instead of refusing it."""
    oracle.edit(reading._check_region, "if not lies_in(region, row.shape):", "if len(region.size) != len(row.shape):")


@mutant("region-read", hints=["dtypes-request-f4-run-start"])
def reads_regions_that_cut_bytes(oracle: Patches) -> None:
    """Reads regions that begin or end within a byte, wrongly."""
    oracle.edit(reading._check_region, "if row.bits % 8 and not cuts_no_byte(", "if False and not (")


@mutant("read", hints=["tiling-without-middle"])
def does_not_check_tiling(oracle: Patches) -> None:
    """Fills gaps between shards with zeros."""
    oracle.edit(reading._check_tensor, "if not opened.is_tiled(row.number):", "if False:")


@mutant("read", hints=["tiling-twice-for-missing"])
def tiles_by_volume(oracle: Patches) -> None:
    """Compares only the number of elements of all shards with that of the tensor."""
    oracle.edit(tiling.tiles, "if joined is None:", "joined = regions\n    if False:")
    oracle.edit(tiling.tiles, "return _disjoint(spans)", "return True")


@mutant("read", hints=["tiling-overlap-of-row"])
def accepts_overlapping_shards(oracle: Patches) -> None:
    """Accepts shards that cover elements several times, as long as the number of elements suffices."""
    oracle.edit(tiling.tiles, "for region in regions) != prod(shape):", "for region in regions) < prod(shape):")
    oracle.edit(tiling.tiles, "if joined is None:", "joined = regions\n    if False:")
    oracle.edit(tiling.tiles, "return _disjoint(spans)", "return True")


@mutant("read", hints=["geometry-runs-of-matrix", "tiling-run-*"])
def tiles_without_runs(oracle: Patches) -> None:
    """Looks for overlaps between the boxes of shards without their runs, and only in different boxes."""
    oracle.edit(
        tiling.tiles,
        "if joined is None:",
        "joined = list({(r.offset, r.size): r for r in regions}.values())\n    if False:",
    )


@mutant("read", hints=["geometry-columns"])
def tiles_by_first_dimension(oracle: Patches) -> None:
    """Looks for overlaps in the first dimension only."""
    oracle.edit(
        tiling._apart,
        "zip(one[0], one[1], other[0], other[1], strict=True)",
        "zip(one[0][:1], one[1][:1], other[0][:1], other[1][:1], strict=True)",
    )


@mutant("read", hints=["geometry-empty-vector-without-shard"])
def takes_empty_tensors_for_gaps(oracle: Patches) -> None:
    """Demands a shard of an empty tensor."""
    oracle.edit(tiling.tiles, "return not regions or (", "return bool(regions) and (")
