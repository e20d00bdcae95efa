"""Look into a checkpoint and read a few rows of one tensor, without torch and without reading the rest.

    python examples/read_slice.py
"""

import tempfile
from pathlib import Path

import numpy as np

import pyckpt

folder = Path(tempfile.mkdtemp())
table = np.random.default_rng(0).standard_normal((8192, 512), dtype=np.float32)
vocabulary = b"the\nof\nand\n"
pyckpt.save(
    folder / "export-1",
    {"policy_model": {"embed.weight": table, "scale": np.float32(0.5)}},
    metadata={"step": 1, "note": "an example"},
    assets={"policy_model": {"vocabulary.txt": vocabulary}},
)

checkpoint = pyckpt.open(folder / "export-1", framework="numpy")
print(checkpoint)
print("metadata:", dict(checkpoint.metadata))
model = checkpoint["policy_model"]  # reads the manifest of this item
weight = model["embed.weight"]  # reads nothing
print(weight, f"{weight.nbytes:,} bytes in all")
rows = weight[4096:4100]  # reads and checks only the blocks that hold these rows
print(f"rows 4096 to 4099: {rows.shape}, {rows.nbytes:,} bytes")
if not np.array_equal(rows, table[4096:4100]):
    raise SystemExit("these are not the rows that were saved")

# An item whose tensors are whole is a set of ordinary safetensors files, and an asset is an ordinary file.
for file in sorted((folder / "export-1").rglob("*.*")):
    print(f"{file.stat().st_size:>12,}  {file.relative_to(folder)}")
