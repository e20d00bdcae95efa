"""Every layout is filled from a Hugging Face directory, each rank reading its part of it."""

from __future__ import annotations

import pytest

pytest.importorskip("torch")

import torch
from safetensors.torch import save_file

from pyckpt import LoadOptions
from pyckpt.errors import RankError, StateMismatch
from pyckpt.interop import hf
from tests.ranks.layouts import LAYOUTS, Net, formula, shapes
from tests.ranks.seats import Seats

pytestmark = [pytest.mark.ranks, pytest.mark.filterwarnings("ignore")]


def whole(name):
    shape, dtype = shapes()[name]
    return formula(name, "param", shape, dtype)


@pytest.fixture(scope="module")
def net_folder(tmp_path_factory):
    """The test network in two files, its head left out, as it is tied."""
    folder = tmp_path_factory.mktemp("net")
    names = [name for name in shapes() if name != "head.weight"]
    half = len(names) // 2
    lines = []
    for file, part in (("one.safetensors", names[:half]), ("two.safetensors", names[half:])):
        save_file({name: whole(name) for name in part}, folder / file)
        lines += [f'"{name}": "{file}"' for name in part]
    (folder / "model.safetensors.index.json").write_text('{"weight_map": {' + ", ".join(lines) + "}}")
    return str(folder)


def fill_layout(rank, folder, layout):
    """Names that are not as they were written, on this rank."""
    made = LAYOUTS[layout]
    seats = Seats.all()
    target, want = made.build("zero", seats), made.build("param", seats)
    regions = made.regions(rank)
    # FSDP1's own state dict forgets what is tied, so it has to be told where both names are filled from.
    untie = (lambda name: name.replace("head", "embed")) if layout == "fsdp1-2" else None
    report = hf.load_into(target, folder, layout=regions["model"] if regions else None, map_key=untie)
    assert not report.skipped
    wrong = []
    for what in ("named_parameters", "named_buffers"):
        pairs = zip(getattr(target, what)(), getattr(want, what)(), strict=True)
        wrong += [name for (name, a), (_, b) in pairs if not torch.equal(local(a), local(b))]
    return wrong


def local(tensor):
    from torch.distributed.tensor import DTensor

    return tensor.to_local() if isinstance(tensor, DTensor) else tensor.detach()


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout(ranks, net_folder, layout):
    assert ranks(LAYOUTS[layout].size).run(fill_layout, net_folder, layout) == [[]] * LAYOUTS[layout].size


CONFIG = {
    "vocab_size": 1001,
    "hidden_size": 128,
    "intermediate_size": 256,
    "num_hidden_layers": 2,
    "num_attention_heads": 8,
    "num_key_value_heads": 4,
    "max_position_embeddings": 64,
}


def llama(tied):
    from transformers import LlamaConfig, LlamaForCausalLM

    return LlamaForCausalLM(LlamaConfig(**CONFIG, tie_word_embeddings=tied))


@pytest.fixture(scope="module", params=[False, True], ids=["untied", "tied"])
def published(request, tmp_path_factory):
    pytest.importorskip("transformers")
    folder = tmp_path_factory.mktemp("published")
    torch.manual_seed(1)
    model = llama(request.param).to(torch.bfloat16)
    model.save_pretrained(folder, max_shard_size="200KB")
    files = [path.stat().st_size for path in folder.glob("*.safetensors")]
    assert len(files) > 2
    return str(folder), request.param, {name: tensor.float() for name, tensor in model.state_dict().items()}, sum(files)


def fill_llama(rank, folder, tied, want, layout):
    """(bytes that arrived, bytes read, names that differ) of a float32 model filled from bfloat16 files."""
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard
    from torch.distributed.tensor import DTensor, Replicate
    from torch.distributed.tensor.parallel import ColwiseParallel, RowwiseParallel, parallelize_module

    torch.manual_seed(rank)
    model = llama(tied)
    if layout == "fsdp2":
        mesh = init_device_mesh("cpu", (4,))
        for block in model.model.layers:
            fully_shard(block, mesh=mesh)
        fully_shard(model, mesh=mesh)
    else:
        rows, columns = RowwiseParallel(), ColwiseParallel()
        plan = {f"model.layers.*.self_attn.{name}_proj": columns for name in "qkv"}
        plan |= {"model.layers.*.self_attn.o_proj": rows, "model.layers.*.mlp.down_proj": rows}
        plan |= {"model.layers.*.mlp.gate_proj": columns, "model.layers.*.mlp.up_proj": columns}
        plan |= {"model.embed_tokens": RowwiseParallel(input_layouts=Replicate())}
        plan |= {"lm_head": ColwiseParallel(output_layouts=Replicate())}
        parallelize_module(model, init_device_mesh("cpu", (2,)), plan)
        if tied:
            model.lm_head.weight = model.model.embed_tokens.weight
    # This model is so small that all gaps are: 64 KiB between two ranges are read along by default.
    report = hf.load_into(model, folder, options=LoadOptions(gap_bytes=0))
    wrong = []
    for name, tensor in model.state_dict().items():
        full = tensor.full_tensor() if isinstance(tensor, DTensor) else tensor
        if full.dtype != torch.float32 or not torch.equal(full, want[name]):
            wrong.append(name)
    return report.bytes, report.read, wrong


@pytest.mark.parametrize(("layout", "size"), [("fsdp2", 4), ("tp", 2)])
def test_llama_is_equal_to_the_bit_and_every_rank_reads_its_share(ranks, published, layout, size):
    folder, tied, want, total = published
    results = ranks(size).run(fill_llama, folder, tied, want, layout)
    assert [wrong for _, _, wrong in results] == [[]] * size
    for arrived, read, _ in results:
        assert arrived < 1.1 * total / size
        # Columns of a matrix are read with what lies between them, where that is little.
        assert read < (1.2 if layout == "fsdp2" else 1.5) * total / size


def fill_another_shape(rank, folder):
    target = Net().fill("zero")
    if rank == 1:
        target.norm = torch.nn.LayerNorm(3)
        target.extra = torch.nn.Linear(2, 2)
    before = {name: tensor.clone() for name, tensor in target.state_dict().items()}
    try:
        hf.load_into(target, folder)
    finally:
        assert all(torch.equal(tensor, before[name]) for name, tensor in target.state_dict().items())


def test_what_differs_on_one_rank_is_refused_on_all(ranks, net_folder):
    for one in ranks(2).outcomes(fill_another_shape, net_folder):
        assert isinstance(one.error, StateMismatch)
        found = sorted(finding.key for finding in one.error.findings)
        assert found == ["model/extra.bias", "model/extra.weight", "model/norm.bias", "model/norm.weight"]
        assert all("(rank 1)" in finding.message for finding in one.error.findings)


def fill_from(rank, folders):
    hf.load_into(Net(), folders[rank])


def test_a_directory_that_can_not_be_read_is_an_error_on_all(ranks, tmp_path):
    (tmp_path / "model.safetensors").write_bytes(b"\xff" * 100)
    codes = [one.error.code for one in ranks(2).outcomes(fill_from, [str(tmp_path)] * 2)]
    assert codes == ["object.header"] * 2


def fill_wrongly(rank, folder):
    hf.load_into(Net() if rank == 0 else {}, folder)


def test_a_wrong_call_on_one_rank_is_an_error_on_all(ranks, net_folder):
    first, second = ranks(2).outcomes(fill_wrongly, net_folder)
    assert isinstance(first.error, RankError)
    assert "rank 1" in str(first.error)
    assert second.error.code == "usage.invalid"
