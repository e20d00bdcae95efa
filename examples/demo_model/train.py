"""One rank of the fine-tuning, started by torchrun: weights from the directory, a few steps, one sharded checkpoint."""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from safetensors.torch import save_file
from step import QUESTION, peak_mb
from torch import nn
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor
from torch.nn import functional
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

import pyckpt
from pyckpt.interop import hf

STEPS, CONTEXT, RATE = 4, 64, 2e-5
TEXT = Path(__file__).resolve().parents[2] / "spec" / "01-introduction.md"


def build_model(base: Path, mesh: DeviceMesh) -> nn.Module:
    """The model in float32, sharded before it has memory: no rank ever holds more of it than its part."""
    config = AutoConfig.from_pretrained(base)
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    model.tie_weights()
    for block in model.model.layers:
        fully_shard(block, mesh=mesh)
    fully_shard(model, mesh=mesh)
    model.to_empty(device="cpu")
    # Its frequencies are in no file, and to_empty has left garbage in their place.
    model.model.rotary_emb = type(model.model.rotary_emb)(config)
    return model


def read_batches(base: Path, rank: int, ranks: int) -> list[torch.Tensor]:
    """One row of tokens for each step."""
    tokens = AutoTokenizer.from_pretrained(base)(TEXT.read_text(encoding="utf-8"), return_tensors="pt").input_ids[0]
    starts = [(step * ranks + rank) * CONTEXT % (len(tokens) - CONTEXT - 1) for step in range(STEPS)]
    return [tokens[start : start + CONTEXT + 1][None] for start in starts]


def fine_tune(model: nn.Module, optimizer: torch.optim.Optimizer, batches: list[torch.Tensor]) -> list[float]:
    """The mean losses of the steps."""
    losses = []
    for batch in batches:
        optimizer.zero_grad()
        logits = model(batch[:, :-1], use_cache=False).logits
        loss = functional.cross_entropy(logits.flatten(0, 1), batch[:, 1:].flatten())
        loss.backward()
        optimizer.step()
        mean = loss.detach().clone()
        dist.all_reduce(mean)
        losses.append(mean.item() / dist.get_world_size())
    return losses


def answer(model: nn.Module, base: Path) -> dict[str, torch.Tensor]:
    """A prompt and its logits as the training ranks compute them."""
    chat = [{"role": "user", "content": QUESTION}]
    tokenizer = AutoTokenizer.from_pretrained(base)
    prompt = tokenizer.apply_chat_template(chat, add_generation_prompt=True, return_tensors="pt", return_dict=True)
    tokens = prompt["input_ids"]
    model.eval()
    with torch.no_grad():
        return {"tokens": tokens, "logits": model(tokens, use_cache=False).logits.contiguous()}


def run(build: Path) -> dict[str, Any]:
    """Figures of this rank."""
    base, ranks = build / "base", dist.get_world_size()
    say = print if dist.get_rank() == 0 else lambda *_, **__: None
    model = build_model(base, init_device_mesh("cpu", (ranks,), mesh_dim_names=("dp",)))
    loaded = hf.load_into(model, base)
    own = sum(p.to_local().nbytes for p in model.parameters() if isinstance(p, DTensor))
    say(f"> loaded into FSDP2: rank 0 read {loaded.read / 1e6:.0f} MB in {loaded.seconds:.2f} s", flush=True)
    optimizer = torch.optim.AdamW(model.parameters(), lr=RATE)
    begin = time.monotonic()
    losses = fine_tune(model, optimizer, read_batches(base, dist.get_rank(), ranks))
    trained = time.monotonic() - begin
    say(f"> {STEPS} steps in {trained:.0f} s, loss {losses[0]:.3f} to {losses[-1]:.3f}", flush=True)
    files = {path.name: path for path in base.iterdir() if path.suffix != ".safetensors"}
    state = {"model": model, "optimizer": optimizer}
    saved = pyckpt.save(build / "store" / "tuned", state, metadata={"step": STEPS}, assets={"model": files})
    say(f"> saved model and optimizer: {saved.bytes / 1e6:.0f} MB in {saved.seconds:.2f} s", flush=True)
    answered = answer(model, base)
    if dist.get_rank() == 0:
        save_file(answered, build / "logits.safetensors")
    return {
        "load": {"bytes": loaded.bytes, "read": loaded.read, "seconds": loaded.seconds, "own_bytes": own},
        "train": {"losses": losses, "seconds": trained},
        "save": {"bytes": saved.bytes, "written": saved.written, "seconds": saved.seconds},
        "peak_mb": peak_mb(),
    }


def main() -> None:
    """Writes this rank's figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--build", type=Path, required=True)
    build = parser.parse_args().build
    torch.set_num_threads(1)
    dist.init_process_group("gloo")
    result = run(build)
    (build / f"rank{dist.get_rank()}.json").write_text(json.dumps(result, indent=1))
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
