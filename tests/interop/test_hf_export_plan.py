"""The pure parts of an export: sizes, names, files, pieces, configs."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyckpt.errors import UsageError
from pyckpt.format.safetensors import parse_header
from pyckpt.interop.hf.arguments import parse_dtype, parse_size
from pyckpt.interop.hf.config import main_dtype, without_surprises
from pyckpt.interop.hf.files import is_tokenizer_file, is_wanted
from pyckpt.interop.hf.names import Leaf, choose_names, first_names
from pyckpt.interop.hf.pieces import MAX_PIECE_BYTES, PIECE_BYTES, cut_file
from pyckpt.interop.hf.plan import PlannedFile, Weight, deal_files, file_header, plan_files


@pytest.mark.parametrize(
    ("text", "size"),
    [
        (17, 17),
        ("17", 17),
        ("17B", 17),
        ("5GB", 5 * 10**9),
        ("5gb", 5 * 10**9),
        ("5 GiB", 5 << 30),
        ("1.5MiB", 3 << 19),
        ("0.000001TB", 10**6),
        ("2k", 2000),
    ],
)
def test_sizes(text, size):
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "GB", "-1", "1e9", "1 GB/s", "9" * 40, "0", "0.0000001B", True, None, 1.5])
def test_no_sizes(text):
    with pytest.raises(UsageError):
        parse_size(text)


def test_dtypes():
    assert parse_dtype(None) is None
    assert parse_dtype("bfloat16") == parse_dtype("BF16") == parse_dtype("torch.bfloat16") == "BF16"
    for wrong in ("half", "int8", "I8", "", 3, "F4"):
        with pytest.raises(UsageError):
            parse_dtype(wrong)


def weight(name, elements, stored="F32", dtype=None):
    return Weight(name, 0, stored, dtype or stored, (elements,))


WEIGHTS = st.lists(
    st.tuples(st.integers(0, 40), st.sampled_from(["F32", "BF16", "U8", "F64", "BOOL"])), max_size=30
).map(lambda rows: [weight(f"w{at}", size, dtype) for at, (size, dtype) in enumerate(rows)])


@given(WEIGHTS, st.integers(1, 200))
def test_files_hold_every_weight_once_and_no_more_than_they_may(weights, limit):
    files = plan_files(weights, max_bytes=limit)
    assert sorted(each.name for file in files for each in file.weights) == sorted(each.name for each in weights)
    for file in files:
        assert file.nbytes <= limit or len(file.weights) == 1
        header = file_header(file)
        metadata, entries = parse_header(header, len(header) + file.nbytes)
        assert metadata == {"format": "pt"}
        for entry, each in zip(entries, file.weights, strict=True):
            assert (entry.name, entry.dtype, entry.shape, entry.end - entry.begin) == (
                each.name,
                each.dtype,
                each.shape,
                each.nbytes,
            )
            item = max(1, each.nbytes // max(1, each.elements))
            assert entry.begin % item == 0


@given(WEIGHTS, st.integers(1, 200), st.integers(1, 5))
def test_ranks_share_all_files(weights, limit, ranks):
    files = plan_files(weights, max_bytes=limit)
    shares = deal_files(files, ranks)
    assert len(shares) == ranks
    assert sorted(file.name for share in shares for file in share) == sorted(file.name for file in files)
    loads = [sum(file.nbytes for file in share) for share in shares]
    assert max(loads) - min(loads) <= max(file.nbytes for file in files)


def test_linked_objects_are_files_of_their_own():
    weights = [weight(name, 10) for name in "abcdef"]
    files = plan_files(weights, max_bytes=80, linked={7: [weights[4]], 3: [weights[1], weights[2]]})
    assert [(file.linked, [each.name for each in file.weights]) for file in files] == [
        (3, ["b", "c"]),
        (7, ["e"]),
        (None, ["a", "d"]),
        (None, ["f"]),
    ]
    assert files[0].name == "model-00001-of-00004.safetensors"
    assert plan_files([], max_bytes=1) == (PlannedFile("model.safetensors", ()),)


@given(
    st.lists(
        st.tuples(
            st.integers(0, 100).map(lambda count: count * 8),
            st.sampled_from([("F32", "BF16"), ("F4", "F4"), ("F6_E2M3", "F6_E2M3"), ("BF16", "F64"), ("U8", "U8")]),
        ),
        max_size=12,
    ),
    st.integers(1, 500),
)
def test_pieces_cover_a_file_in_order(rows, size):
    weights = [weight(f"w{at}", count, *dtypes) for at, (count, dtypes) in enumerate(rows)]
    (file,) = plan_files(weights, max_bytes=1 << 40)
    pieces = list(cut_file(file, [size] * len(weights)))
    at = 0
    taken = dict.fromkeys((each.name for each in weights), 0)
    for piece in pieces:
        assert piece.offset == at
        at += piece.nbytes
        for each in piece.slices:
            assert each.start == taken[each.weight.name]
            assert each.start < each.stop
            taken[each.weight.name] = each.stop
    assert at == file.nbytes
    assert taken == {each.name: each.elements for each in weights}


def test_small_tensors_share_a_piece_and_large_ones_are_cut():
    weights = [weight(f"w{at}", 1000) for at in range(100)]
    assert len(list(cut_file(PlannedFile("f", tuple(weights)), [PIECE_BYTES] * 100))) == 1
    large = weight("large", 40 << 20)
    pieces = list(cut_file(PlannedFile("f", (large,)), [PIECE_BYTES]))
    assert len(pieces) == 10
    assert max(piece.memory for piece in pieces) == PIECE_BYTES < MAX_PIECE_BYTES


def leaves(**tensors):
    return [Leaf(name, tensor) for name, tensor in tensors.items()]


TIED = {"head": "embed", "encoder": "embed", "decoder": "embed"}
KNOWN = {"head", "embed", "encoder", "decoder", "x", "y"}


@pytest.mark.parametrize(
    ("given", "kept", "aliases", "copies"),
    [
        ({"embed": 0, "x": 1, "head": 0}, {"embed": 0, "x": 1}, {"head": "embed"}, []),
        ({"head": 0, "x": 1, "embed": 0}, {"embed": 0, "x": 1}, {"head": "embed"}, []),
        ({"head": 0}, {"embed": 0}, {"head": "embed"}, []),
        ({"head": 0, "encoder": 0, "decoder": 1}, {"embed": 0, "decoder": 1}, {"head": "embed", "encoder": "embed"}, ["decoder"]),
        ({"head": 1, "embed": 0}, {"head": 1, "embed": 0}, {}, ["head"]),
        ({"x": 0, "y": 0}, {"x": 0, "y": 0}, {}, []),
        ({"x": 0, "stranger": 0}, {"x": 0}, {"stranger": "x"}, []),
        ({"stranger": 0, "x": 0}, {"x": 0}, {"stranger": "x"}, []),
        ({"stranger": 0}, {"stranger": 0}, {}, []),
        ({"stranger": 0, "head": 0, "x": 0}, {"embed": 0, "x": 0}, {"stranger": "embed", "head": "embed"}, []),
    ],
)
def test_names_of_tied_tensors(given, kept, aliases, copies):
    chosen = choose_names(leaves(**given), TIED, KNOWN)
    assert {leaf.name: leaf.tensor for leaf in chosen.leaves} == kept
    assert len(chosen.leaves) == len(kept)
    assert chosen.aliases == aliases
    assert [(copy.name, main.name) for copy, main in chosen.copies] == [(name, "embed") for name in copies]


def test_first_names():
    some = leaves(a=0, b=1, c=0)
    assert first_names(some, untied=False).leaves == tuple(leaves(a=0, b=1))
    assert first_names(some, untied=False).aliases == {"c": "a"}
    assert first_names(some, untied=True).leaves == tuple(some)


def test_older_fields_join_the_newer():
    rope = {"rope_type": "llama3", "rope_theta": 5e5, "factor": 8.0}
    config = {"rope_parameters": rope, "dtype": "float32", "text_config": {"rope_parameters": rope, "dtype": "float32"}}
    written = without_surprises(config, dtype="bfloat16", architecture="M")
    for each in (written, written["text_config"]):
        assert each["rope_theta"] == 5e5
        assert each["rope_scaling"] == {"rope_type": "llama3", "factor": 8.0}
        assert each["rope_parameters"] == rope
        assert each["dtype"] == each["torch_dtype"] == "bfloat16"
    assert written["architectures"] == ["M"]


def test_fields_that_are_there_stay():
    config = {
        "rope_parameters": {"rope_type": "default", "rope_theta": 1.0},
        "rope_theta": 2.0,
        "architectures": ["A"],
        "torch_dtype": "float16",
        "vision_config": {"hidden_size": 3},
    }
    assert without_surprises(config, dtype="", architecture="B") == config
    assert "rope_scaling" not in without_surprises(config, dtype="", architecture="")
    older = {"rope_theta": 1.0, "rope_scaling": None}
    assert without_surprises(older, dtype="", architecture="") == older
    nested = {"rope_parameters": {"full_attention": {"rope_type": "default", "rope_theta": 1.0}}}
    assert without_surprises(nested, dtype="", architecture="") == nested


def test_the_dtype_of_a_model():
    assert main_dtype([weight("a", 10, "F32"), weight("b", 100, "BF16"), weight("c", 9999, "I64")]) == "bfloat16"
    assert main_dtype([weight("a", 10, "F32"), weight("b", 9999, "F8_E4M3")]) == "float32"
    assert main_dtype([weight("a", 10, "U8")]) == ""


@pytest.mark.parametrize(
    "name", ["tokenizer.json", "Tokenizer.model", "vocab.txt", "preprocessor_config.json", "tekken.json"]
)
def test_files_of_tokenizers(name):
    assert is_wanted(name)
    assert is_tokenizer_file(name)


@pytest.mark.parametrize(
    "name",
    [
        "a.safetensors",
        "a.safetensors.json",
        "a.bin.json",
        "MODEL.SAFETENSORS",
        "consolidated",
        "consolidated.model",
        "CONSOLIDATED.json",
        "config.json",
        "Config.json",
        "x.index.json",
        "sub/config.json",
        "additional_chat_templates/consolidated.jinja",
        "tokenizer",
        ".json",
    ],
)
def test_files_that_are_not_copied(name):
    assert not is_wanted(name)
    assert not is_tokenizer_file(name)
