"""Small random models of transformers, and ranks that save and export them."""

from __future__ import annotations

import json
import os

import pyckpt
from pyckpt.interop import hf

SIZES = {
    "vocab_size": 128,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
}


def llama(*, tied=False, seed=0, **changes):
    """A model with random weights, whose config says which class it is."""
    import torch
    import transformers

    torch.manual_seed(seed)
    model = transformers.LlamaForCausalLM(transformers.LlamaConfig(**SIZES, tie_word_embeddings=tied, **changes))
    model.config.architectures = ["LlamaForCausalLM"]
    return model.eval()


def config_bytes(model):
    return model.config.to_json_string().encode()


def save(url, model, *, assets=None, state=None, **options):
    """Saves the model as the item ``model``, with its config."""
    files = {"config.json": config_bytes(model), **(assets or {})}
    return pyckpt.save(
        url, {"model": model if state is None else state}, assets={"model": files}, options=pyckpt.SaveOptions(**options)
    )


def logits(model):
    import torch

    with torch.no_grad():
        return model(torch.arange(40)[None] % 128).logits


def loaded(path, **options):
    """The model as transformers opens the directory; every weight must be there."""
    import transformers

    model, told = transformers.AutoModelForCausalLM.from_pretrained(path, output_loading_info=True, **options)
    assert not told["missing_keys"], told
    assert not told["unexpected_keys"], told
    return model.eval()


def tensors_in(path):
    """Name -> tensor of all files of weights in a directory, each name once."""
    from safetensors.torch import load_file

    found = {}
    for name in sorted(os.listdir(path)):
        if name.endswith(".safetensors"):
            inside = load_file(os.path.join(path, name))
            assert not inside.keys() & found.keys()
            found.update(inside)
    return found


def index_of(path):
    with open(os.path.join(path, "model.safetensors.index.json"), encoding="utf-8") as file:
        return json.load(file)


def save_fsdp2(rank, size, url, tied, options):
    """Every rank has its part of the same model."""
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    model = llama(tied=tied)
    mesh = init_device_mesh("cpu", (size,))
    for layer in model.model.layers:
        fully_shard(layer, mesh=mesh)
    fully_shard(model, mesh=mesh)
    save(url, model, **options)


def save_columns(rank, size, url):
    """Projections that are cut along their columns by hand, as tensor parallelism does."""
    state = {name: tensor.clone() for name, tensor in llama().state_dict().items()}
    layout = {}
    for name in state:
        if name.endswith(("o_proj.weight", "down_proj.weight")):
            state[name] = state[name].chunk(size, 1)[rank].contiguous()
            layout[name] = pyckpt.Shard(dim=1, index=rank, count=size)
    model = llama()
    options = pyckpt.SaveOptions(layout={"model": layout})
    pyckpt.save(url, {"model": state}, assets={"model": {"config.json": config_bytes(model)}}, options=options)


def export_together(rank, url, out, options):
    """The report of one rank."""
    return hf.export(url, out, **options)


def export_apart(rank, url, out, options):
    """Each rank to a directory of its own, which is a mistake."""
    return hf.export(url, f"{out}-{rank}", **options)
