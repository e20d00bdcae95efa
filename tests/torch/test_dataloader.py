"""The position of torchdata's own StatefulDataLoader survives a save and a load, in the middle of an epoch."""

from __future__ import annotations

import pytest
import torch

import pyckpt

pytestmark = pytest.mark.filterwarnings("ignore")


def loader():
    from torchdata.stateful_dataloader import StatefulDataLoader

    generator = torch.Generator().manual_seed(5)
    return StatefulDataLoader(list(range(100)), batch_size=4, shuffle=True, num_workers=0, generator=generator)


@pytest.mark.parametrize("taken", [1, 7])
def test_the_next_batches_are_the_same(tmp_path, taken):
    data = loader()
    batches = iter(data)
    for _ in range(taken):
        next(batches)
    pyckpt.save(tmp_path / "step", {"dataloader": data})
    assert pyckpt.open(tmp_path / "step").items_by_kind == {"dataloader": "dataloader"}
    expected = [next(batches).tolist() for _ in range(5)]
    other = loader()
    pyckpt.load(tmp_path / "step", into={"dataloader": other})
    resumed = iter(other)
    assert [next(resumed).tolist() for _ in range(5)] == expected
