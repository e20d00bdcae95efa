"""One rank of the tests, as torchrun starts it: FUNCTION DIRECTORY ARGUMENTS-AS-JSON."""

from __future__ import annotations

import json
import os
import sys

import torch
import torch.distributed as dist

from pyckpt.testing import rank_programs


def main(function: str, directory: str, arguments: str) -> None:
    """Call the function of ``rank_programs`` on this rank and leave what it gives in a file of the directory."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo")
    value = getattr(rank_programs, function)(*json.loads(arguments))
    with open(os.path.join(directory, f"{dist.get_rank()}.json"), "w", encoding="utf-8") as file:
        json.dump(value, file)
    dist.barrier()
    dist.destroy_process_group()


if __name__ == "__main__":
    main(*sys.argv[1:])
