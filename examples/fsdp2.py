"""Save under FSDP2 and load into whatever number of ranks there is the next time.

    torchrun --standalone --nproc-per-node 4 examples/fsdp2.py STORE
    torchrun --standalone --nproc-per-node 2 examples/fsdp2.py STORE     # goes on where the four stopped
"""

import sys

import torch
import torch.distributed as dist
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard

import pyckpt

store = sys.argv[1]
device = "cuda" if torch.cuda.is_available() else "cpu"
dist.init_process_group("nccl" if device == "cuda" else "gloo")
rank, ranks = dist.get_rank(), dist.get_world_size()
if device == "cuda":
    torch.cuda.set_device(rank % torch.cuda.device_count())

mesh = init_device_mesh(device, (ranks,))
model = torch.nn.Transformer(64, 4, 2, 2, 128, batch_first=True).to(device)
for layer in [*model.encoder.layers, *model.decoder.layers]:
    fully_shard(layer, mesh=mesh)
fully_shard(model, mesh=mesh)
optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
state = {"model": model, "optimizer": optimizer, "rng": pyckpt.RNG(on_resize="reseed")}

first = 1
newest = pyckpt.latest(store)
if newest:
    loaded = pyckpt.load_report(newest, into=state)  # every rank reads the parts that it needs, as it needs them
    first = loaded.root.metadata["step"] + 1
    if rank == 0:
        print(f"resumed from {newest} on {ranks} ranks")

last = first + 2
for _ in range(first, last + 1):
    x = torch.randn(4, 7, 64, device=device)
    optimizer.zero_grad()
    model(x, x).square().mean().backward()
    optimizer.step()

report = pyckpt.save(f"{store}/step-{last}", state, metadata={"step": last})  # all ranks call it together
if rank == 0:
    print(f"saved {report.url}: {report.shards} shards of {report.tensors} tensors in {report.seconds:.2f} s")
dist.destroy_process_group()
