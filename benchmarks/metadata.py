"""What does not grow with the bytes: tiling checks, manifests of many shards, the start of a command."""

from __future__ import annotations

import subprocess
import sys
from functools import partial

import numpy as np

from benchmarks.timing import Arms
from pyckpt.format.geometry import Region
from pyckpt.format.manifest import Manifest, compress_manifest, decode_manifest, decompress_manifest, encode_manifest
from pyckpt.format.manifest_check import check_manifest
from pyckpt.format.shard_table import ObjectRow, ShardTable
from pyckpt.format.tensor_table import TensorTable
from pyckpt.format.tiling import tiles_exactly
from pyckpt.format.tree import TensorRef

__all__ = ["manifest_of", "metadata"]

ATTEMPT = "0123456789abcdef"
ROW_BYTES = 4096


def metadata(directory: str, repetitions: int) -> list[tuple[Arms, int]]:
    """The arms are different things, so the ratio column says nothing here; the seconds do."""
    arms = Arms("metadata, seconds")
    for rows, columns in ((128, 128), (1000, 1000), (1_000_000, 1)):
        shape, offset, size = _grid(rows, columns)
        arms.add(f"tiling of {rows:,} x {columns:,} boxes", partial(_accept, shape, offset, size))
    for tensors, shards in ((20_000, 1), (1_000, 1_000)):
        manifest = manifest_of(tensors, shards)
        raw = encode_manifest(manifest)
        stored = compress_manifest(raw)
        what = f"{tensors * shards:,} shards of {tensors:,} tensors"
        arms.add(f"encode {what}", partial(encode_manifest, manifest))
        arms.add(f"open {what}, checked", partial(_open, stored, len(raw)))
        print(f"{what}: manifest of {len(raw) / 1e6:.1f} MB, {len(stored) / 1e6:.1f} MB stored")
    arms.add("pyckpt --help", partial(_command, "--help"))
    _save_something(directory)
    arms.add("pyckpt inspect, a small checkpoint", partial(_command, "inspect", f"{directory}/step"))
    arms.run(repetitions)
    return [(arms, 0)]


def _grid(rows: int, columns: int) -> tuple[tuple[int, int], np.ndarray, np.ndarray]:
    first = np.stack(np.meshgrid(np.arange(rows), np.arange(columns), indexing="ij"), -1).reshape(-1, 2) * 8
    return (rows * 8, columns * 8), first, np.full_like(first, 8)


def _accept(shape: tuple[int, int], offset: np.ndarray, size: np.ndarray) -> None:
    if not tiles_exactly(shape, offset, size):
        raise SystemExit("an exact tiling was refused")


def manifest_of(tensors: int, shards: int) -> Manifest:
    """Each tensor cut into ``shards`` flat runs of one block."""
    table = TensorTable.build((f"layers.{number}.weight", "U8", (shards, ROW_BYTES)) for number in range(tensors))
    count = tensors * shards
    start = np.tile(np.arange(shards, dtype=np.int64) * ROW_BYTES, tensors)
    data_start = 4096
    key = f"model/{ATTEMPT}-00000.safetensors"
    row = ObjectRow(key, None, data_start + count * ROW_BYTES, data_start, bytes(32), "blake3", ROW_BYTES)
    rows = ShardTable(
        tensors=table,
        objects=(row,),
        tensor=np.repeat(np.arange(tensors, dtype=np.uint32), shards),
        object=np.zeros(count, np.uint32),
        offset=data_start + np.arange(count, dtype=np.int64) * ROW_BYTES,
        block_digest=np.random.default_rng(0).bytes(32 * count),
        run_start=start if shards > 1 else None,
        run_stop=start + ROW_BYTES if shards > 1 else None,
    )
    tree = {f"layers.{number}.weight": TensorRef(number) for number in range(tensors)}
    return Manifest("model", ATTEMPT, ((),), table, (row,), rows, tree)


def _open(stored: bytes, raw_size: int) -> None:
    manifest = decode_manifest(decompress_manifest(stored, raw_size), item="model", attempt=ATTEMPT)
    check_manifest(manifest)
    if manifest.shards.region(len(manifest.shards) - 1) == Region.whole(()):
        raise SystemExit("the last region is wrong")


def _save_something(directory: str) -> None:
    program = "import numpy, pyckpt, sys; pyckpt.save(sys.argv[1], {'model': {'w': numpy.ones((3, 4))}})"
    subprocess.run([sys.executable, "-c", program, f"{directory}/step"], check=True)


def _command(*arguments: str) -> None:
    program = "import sys; from pyckpt.cli.main import main; sys.exit(main())"
    subprocess.run([sys.executable, "-c", program, *arguments], check=True, stdout=subprocess.DEVNULL)
