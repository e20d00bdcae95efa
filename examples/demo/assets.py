"""The files that make a model of the weights: its configuration, and a tokenizer whose tokens are bytes."""

from __future__ import annotations

import json
from typing import Any

from model import CONTEXT, EPSILON, HEADS, INNER, LAYERS, SEPARATOR, THETA, VOCABULARY, WIDTH

SEPARATOR_TEXT = "<|separator|>"


def byte_characters() -> list[str]:
    """The character that byte-level tokenizers write for each byte: itself if it can be seen, else one from 256 on."""
    visible = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = iter(range(0x100, 0x200))
    return [chr(byte if byte in visible else next(others)) for byte in range(256)]


def config() -> dict[str, Any]:
    """What ``LlamaConfig`` has to know."""
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "vocab_size": VOCABULARY,
        "hidden_size": WIDTH,
        "intermediate_size": INNER,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": HEADS,
        "num_key_value_heads": HEADS,
        "head_dim": WIDTH // HEADS,
        "hidden_act": "silu",
        "rms_norm_eps": EPSILON,
        "rope_theta": THETA,
        "rope_parameters": {"rope_type": "default", "rope_theta": THETA},
        "max_position_embeddings": CONTEXT,
        "tie_word_embeddings": False,
        "attention_bias": False,
        "mlp_bias": False,
        "dtype": "float32",
        "bos_token_id": SEPARATOR,
        "eos_token_id": SEPARATOR,
        "pad_token_id": SEPARATOR,
    }


def tokenizer() -> dict[str, Any]:
    """``tokenizer.json``: byte pairs without a pair, so that every byte stays a token of its own."""
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [{"id": SEPARATOR, "content": SEPARATOR_TEXT, **flags}],
        "normalizer": None,
        "pre_tokenizer": byte_level,
        "post_processor": None,
        "decoder": byte_level,
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": False,
            "byte_fallback": False,
            "vocab": {character: byte for byte, character in enumerate(byte_characters())},
            "merges": [],
        },
    }


def tokenizer_config() -> dict[str, Any]:
    """``tokenizer_config.json``."""
    return {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": SEPARATOR_TEXT,
        "eos_token": SEPARATOR_TEXT,
        "pad_token": SEPARATOR_TEXT,
        "model_max_length": CONTEXT,
        "clean_up_tokenization_spaces": False,
    }


def generation_config() -> dict[str, Any]:
    """``generation_config.json``."""
    return {"bos_token_id": SEPARATOR, "eos_token_id": SEPARATOR, "pad_token_id": SEPARATOR, "max_length": CONTEXT}


def assets() -> dict[str, bytes]:
    """File name -> bytes, to be kept with the model at every save."""
    files = {
        "config.json": config(),
        "generation_config.json": generation_config(),
        "tokenizer.json": tokenizer(),
        "tokenizer_config.json": tokenizer_config(),
    }
    return {name: json.dumps(value, indent=1).encode() for name, value in files.items()}
