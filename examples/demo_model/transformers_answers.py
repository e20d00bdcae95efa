"""transformers loads what was exported: the logits of the training ranks to the bit, and an answer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from step import EXPECTED, QUESTION, run_step
from transformers import AutoModelForCausalLM, AutoTokenizer
from transformers.utils import logging


def ask(build: Path) -> dict[str, Any]:
    """Differences from the ranks' logits, and the answer."""
    logging.disable_progress_bar()
    # What decides the bits: dtype, attention, and the number of threads, all as the ranks had them.
    torch.set_num_threads(1)
    model = AutoModelForCausalLM.from_pretrained(build / "tuned")
    tokenizer = AutoTokenizer.from_pretrained(build / "tuned")
    wanted = load_file(build / "logits.safetensors")
    with torch.no_grad():
        logits = model(wanted["tokens"], use_cache=False).logits
    base = AutoModelForCausalLM.from_pretrained(build / "base", dtype=torch.float32)
    with torch.no_grad():
        before = base(wanted["tokens"], use_cache=False).logits
    chat = [{"role": "user", "content": QUESTION}]
    prompt = tokenizer.apply_chat_template(chat, add_generation_prompt=True, return_tensors="pt", return_dict=True)
    made = model.generate(**prompt, do_sample=False, max_new_tokens=24)
    text = tokenizer.decode(made[0, prompt["input_ids"].shape[1] :], skip_special_tokens=True).strip()
    equal = torch.equal(logits, wanted["logits"])
    print(f"> logits of the training ranks and of transformers: {'all bits equal' if equal else 'they differ'}")
    print(f"> {QUESTION} {text}")
    return {
        "equal_bits": equal,
        "largest_gap": (logits - wanted["logits"]).abs().max().item(),
        "gap_to_base": (logits - before).abs().max().item(),
        "dtype": str(model.dtype),
        "attention": model.config._attn_implementation,
        "text": text,
        "right": EXPECTED in text,
    }


if __name__ == "__main__":
    run_step(ask, __doc__)
