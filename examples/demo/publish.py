"""The demo's last chapter: a checkpoint becomes a directory that transformers loads, and the model stays the same."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import torch
from model import ByteModel
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer
from transformers.utils import logging

import pyckpt
from pyckpt.interop import hf

PROMPT = "The checkpoint"
TOKENS = 60


def publish(checkpoint: str, out: Path, answers: dict[str, torch.Tensor]) -> dict[str, Any]:
    """Exports, loads by transformers alone, and compares with the logits that the training ranks had."""
    report = hf.export(checkpoint, out)
    print(f"> exported {report.bytes / 1e6:.1f} MB to {out.name}/: {', '.join(sorted(p.name for p in out.iterdir()))}")
    published = AutoModelForCausalLM.from_pretrained(out)
    tokenizer = AutoTokenizer.from_pretrained(out)
    own = ByteModel()
    pyckpt.load(checkpoint, into={"model": own})
    with torch.no_grad():
        theirs, ours = published(answers["tokens"]).logits, own(answers["tokens"])
    # The ranks added parts of sums that one process adds in one go, so their logits agree but for rounding.
    gap = (theirs - answers["logits"]).abs().max().item()
    torch.manual_seed(3)
    prompt = tokenizer(PROMPT, return_tensors="pt")
    made = published.generate(**prompt, do_sample=True, temperature=0.5, max_new_tokens=TOKENS, max_length=None)
    return {
        "files": list(report.files),
        "bytes": report.bytes,
        "seconds": report.seconds,
        "equal_bits": torch.equal(theirs, ours),
        "gap_to_ranks": gap,
        "largest_logit": answers["logits"].abs().max().item(),
        "sentence": tokenizer.decode(made[0], skip_special_tokens=True),
    }


def main() -> None:
    """Writes what was found to a file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--checkpoint", required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--logits", type=Path, required=True, help="tokens and logits of the training ranks")
    parser.add_argument("--result", type=Path, required=True)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    logging.disable_progress_bar()
    result = publish(arguments.checkpoint, arguments.out, load_file(arguments.logits))
    arguments.result.write_text(json.dumps(result))


if __name__ == "__main__":
    sys.exit(main())
