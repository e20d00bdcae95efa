"""Two gloo ranks that save one checkpoint with every kind of region."""

import warnings

import torch

RANKS = 2


def whole(shape):
    return torch.arange(torch.Size(shape).numel(), dtype=torch.float32).view(shape)


def layout(rank):
    from pyckpt.format.geometry import Box, Region
    from pyckpt.torch.layout import Declared

    def box(offset, size):
        return Region.of_box(Box(offset, size))

    half = slice(rank * 16, rank * 16 + 16)
    return {
        "rows": Declared((16, 8), (box((rank * 8, 0), (8, 8)),)),
        "columns": Declared((6, 8), (box((0, rank * 4), (6, 4)),)),
        "line": Declared((10,), (box((rank * 7,), (7 - 4 * rank,)),)),
        "flat": Declared((5, 7), (Region.flat((5, 7), 17 * rank, 17 + 18 * rank),)),
        "optimizer": Declared(
            (8, 8), tuple(Region(Box((first, 0), (4, 8)), half.start, half.stop) for first in (0, 4))
        ),
        "interleaved": Declared((8, 2), tuple(box((first + 2 * rank, 0), (2, 2)) for first in (0, 4))),
        "cube": Declared((4, 3, 4), tuple(box((d, 0, (d + 2 * rank) % 4), (2, 3, 2)) for d in (0, 2))),
    }


def run(rank, init, url):
    import torch.distributed as dist

    import pyckpt

    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{init}", rank=rank, world_size=RANKS)
    rules = layout(rank)
    state = {}
    for name, rule in rules.items():
        flat = whole(rule.shape)
        parts = []
        for region in rule.regions:
            index = tuple(slice(low, high) for low, high in zip(region.box.offset, region.box.end, strict=True))
            parts.append(flat[index].reshape(-1)[region.start : region.stop])
        state[name] = torch.cat(parts)
    state["empty"] = torch.zeros(0, 4)
    state["scalar"] = torch.tensor(3.0)
    try:
        options = pyckpt.SaveOptions(layout={"model": rules})
        pyckpt.save(url, {"model": state}, metadata={"step": 7}, options=options)
    finally:
        dist.destroy_process_group()
