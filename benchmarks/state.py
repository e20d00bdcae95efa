"""States that are saved and loaded in benchmarks."""

from __future__ import annotations

import torch

__all__ = ["llama_shapes", "llama_state", "nbytes", "small_state"]


def llama_shapes(hidden: int, inner: int, layers: int, vocab: int) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the weights: nine for each layer, and three."""
    shapes: dict[str, tuple[int, ...]] = {
        "embed_tokens.weight": (vocab, hidden),
        "lm_head.weight": (vocab, hidden),
        "norm.weight": (hidden,),
    }
    for layer in range(layers):
        prefix = f"layers.{layer}."
        for name in "qkvo":
            shapes[f"{prefix}self_attn.{name}_proj.weight"] = (hidden, hidden)
        shapes[f"{prefix}mlp.gate_proj.weight"] = (inner, hidden)
        shapes[f"{prefix}mlp.up_proj.weight"] = (inner, hidden)
        shapes[f"{prefix}mlp.down_proj.weight"] = (hidden, inner)
        shapes[f"{prefix}input_layernorm.weight"] = (hidden,)
        shapes[f"{prefix}post_attention_layernorm.weight"] = (hidden,)
    return shapes


def llama_state(hidden: int = 1024, inner: int = 2816, layers: int = 6, vocab: int = 32000) -> dict[str, torch.Tensor]:
    """Weights in bf16 with fp32 master copy and both moments of AdamW: 2.00 GB in 228 tensors by default."""
    torch.manual_seed(0)
    shapes = llama_shapes(hidden, inner, layers, vocab)
    noise = torch.randn(16 << 20)
    state = {}
    for group in ("model", "master", "exp_avg", "exp_avg_sq"):
        source = noise.bfloat16() if group == "model" else noise
        for name, shape in shapes.items():
            tensor = torch.empty(shape, dtype=source.dtype)
            flat = tensor.view(-1)
            for at in range(0, flat.numel(), source.numel()):
                part = flat[at : at + source.numel()]
                part.copy_(source[: part.numel()])
            state[f"{group}.{name}"] = tensor
    return state


def small_state(count: int = 20_000, elements: int = 2048) -> dict[str, torch.Tensor]:
    """Many small bf16 tensors, 4 KiB each by default."""
    torch.manual_seed(0)
    data = torch.randn(count * elements).bfloat16()
    return {
        f"blocks.{i // 10}.sub{i % 10}.weight": data[i * elements : (i + 1) * elements].clone() for i in range(count)
    }


def nbytes(state: dict[str, torch.Tensor]) -> int:
    """Bytes of all tensors."""
    return sum(tensor.nbytes for tensor in state.values())
