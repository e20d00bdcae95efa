"""Bugs of readers of trees."""

from __future__ import annotations

import struct

from ..oracle import limits, messages, mpack, opening, operations, tree
from .mutant import mutant
from .patching import Patches

_QUIET = 0x7FF8000000000000


@mutant("inspect", hints=["tree-code-42"])
def passes_over_unknown_extensions(oracle: Patches) -> None:
    """Takes an extension value of an unknown code for bytes."""
    oracle.edit(
        mpack._Parser.extension,
        'raise Rejected("tree.schema", f"extension code {code} is not registered")',
        "return self.take(length)",
    )


@mutant("inspect", hints=["tree-payload-tuple-byte-behind"])
def ignores_what_follows_in_extensions(oracle: Patches) -> None:
    """Ignores bytes after the array or map in an extension."""
    oracle.edit(mpack._Parser.extension, "if self.at != self.end:", "self.at = self.end\n    if False:")


@mutant("inspect", hints=["tree-depth-lists-65"])
def nests_nodes_without_limit(oracle: Patches) -> None:
    """Does not limit the depth of nodes."""
    oracle.name(limits, "MAX_TREE_DEPTH", 1 << 40)


@mutant("inspect", hints=["tree-floats"])
def loses_nan_payloads(oracle: Patches) -> None:
    """Gives every NaN of a tree as the usual quiet one."""
    oracle.edit(mpack._Parser.scalar, "Float(self.big(8))", "quiet(Float(self.big(8)))", quiet=_quiet)


@mutant("inspect", hints=["tree-floats"])
def loses_minus_zero(oracle: Patches) -> None:
    """Gives -0.0 of a tree as 0.0."""
    oracle.edit(mpack._Parser.scalar, "Float(self.big(8))", "positive(Float(self.big(8)))", positive=_positive)


@mutant("inspect", hints=["tree-floats"])
def reads_whole_floats_as_integers(oracle: Patches) -> None:
    """Gives a float of a tree that is a whole number as an integer, as languages with one type of numbers do."""
    oracle.edit(mpack._Parser.scalar, "return Float(self.big(8))", "return plain(Float(self.big(8)))", plain=_plain)


def _quiet(value: mpack.Float) -> mpack.Float:
    return mpack.Float(_QUIET) if value.bits & ~(1 << 63) > 0x7FF0000000000000 else value


def _positive(value: mpack.Float) -> mpack.Float:
    return mpack.Float(0) if value.bits == 1 << 63 else value


def _plain(value: mpack.Float) -> mpack.Float | int:
    (number,) = struct.unpack("<d", value.bits.to_bytes(8, "little"))
    return int(number) if number.is_integer() else value


@mutant("inspect", hints=["tree-floats-single"])
def widens_narrow_floats_by_bits(oracle: Patches) -> None:
    """Takes the bits of a MessagePack float of 32 bits for the upper half of one of 64 bits."""
    oracle.edit(mpack._Parser.scalar, "Float(_widened(self.big(4)))", "Float(self.big(4) << 32)")


@mutant("inspect", hints=["tree-bigint-byte-more"])
def accepts_long_bigints(oracle: Patches) -> None:
    """Accepts a bigint that is not the shortest."""
    oracle.edit(tree._bigint, 'if int.from_bytes(payload[:-1], "little", signed=True) == value:', "if False:")


@mutant("inspect", hints=["tree-bigint-2-63"])
def accepts_bigints_of_plain_integers(oracle: Patches) -> None:
    """Accepts a bigint of a value that a plain integer holds."""
    oracle.edit(tree._bigint, "if -(2**63) <= value < 2**64:", "if False:")


@mutant("inspect", hints=["tree-bigints"])
def reads_bigints_without_sign(oracle: Patches) -> None:
    """Reads bigints as unsigned."""
    oracle.edit(tree._bigint, "    return value", '    return int.from_bytes(payload, "little")')


@mutant("inspect", hints=["tree-set-unsorted"])
def accepts_unsorted_sets(oracle: Patches) -> None:
    """Accepts a set whose elements are out of order or repeated."""
    oracle.edit(tree._set, "if texts != sorted(set(texts)) or integers != sorted(set(integers)):", "if False:")


@mutant("inspect", hints=["tree-set-mixed"])
def accepts_mixed_sets(oracle: Patches) -> None:
    """Accepts a set of texts and integers."""
    oracle.edit(tree._set, "if len(payload) not in {len(texts), len(integers)}:", "if False:")


@mutant("inspect", hints=["tree-indexed-lacks-first"])
def accepts_incomplete_indexed_values(oracle: Patches) -> None:
    """Gives nil for the indices that an indexed node lacks."""
    oracle.edit(
        tree._indexed, "if not isinstance(values, dict) or len(values) != size:", "if not isinstance(values, dict):"
    )
    oracle.edit(tree._indexed, "if any(index not in values for index in range(size)):", "if False:")
    oracle.edit(tree._indexed, "values[index]", "values.get(index)")


@mutant("inspect", hints=["tree-timestamp-nanoseconds"])
def accepts_any_nanoseconds(oracle: Patches) -> None:
    """Accepts a timestamp of a second and more of nanoseconds."""
    oracle.edit(tree._timestamp, "if nanoseconds > _MAX_NANOSECONDS:", "if False:")


@mutant("inspect", hints=["tree-timestamps"])
def takes_no_zone_for_utc(oracle: Patches) -> None:
    """Takes a timestamp without a known zone for one in UTC."""
    oracle.edit(tree._timestamp, "None if offset == NO_ZONE else offset", "0 if offset == NO_ZONE else offset")


@mutant("inspect", hints=["tree-complex"])
def swaps_parts_of_complex(oracle: Patches) -> None:
    """Gives the imaginary part of a complex number first."""
    oracle.edit(
        tree._complex,
        'Complex(*struct.unpack("<QQ", _exactly(payload, 16, "complex")))',
        'Complex(*struct.unpack("<QQ", _exactly(payload, 16, "complex"))[::-1])',
    )


@mutant("inspect", hints=["tree-reference-none"])
def accepts_unreferenced_tensors(oracle: Patches) -> None:
    """Accepts tensors that no leaf references."""
    oracle.edit(tree.read_tree, "if len(referenced) != tensors:", "if False:")


@mutant("inspect", hints=["tree-reference-above"])
def accepts_references_to_no_tensor(oracle: Patches) -> None:
    """Accepts a leaf with a tensor number out of range."""
    oracle.edit(tree.read_tree, "if referenced and max(referenced) >= tensors:", "if False:")
    oracle.edit(tree.read_tree, "if len(referenced) != tensors:", "if len(referenced) < tensors:")


@mutant("inspect", hints=["tree-dtypes"])
def refuses_unknown_dtype_values(oracle: Patches) -> None:
    """Refuses a tree for a dtype value that it does not know."""
    oracle.edit(tree._dtype, "if DTYPE_NAME.fullmatch(name) is None:", 'if name not in {"F32", "BF16", "F16", "I64"}:')


@mutant("inspect", hints=["tree-tuples"])
def gives_tuples_as_lists(oracle: Patches) -> None:
    """Gives tuples as lists."""
    oracle.edit(tree._extension, "return TupleNode(", "return ListNode(")


@mutant("inspect", hints=["tree-order"], level="SHOULD")
def sorts_maps(oracle: Patches) -> None:
    """Gives the members of a map sorted by key."""
    oracle.edit(tree._map, "packed.items())", "sorted(packed.items(), key=lambda member: str(member[0])))")


@mutant("read", hints=["tree-paths-components"])
def merges_text_and_integer_keys(oracle: Patches) -> None:
    """Takes the text "1" and the integer 1 for the same component of a path."""
    oracle.edit(
        opening.OpenItem.number,
        "    if path not in self.numbers:",
        "    texts = {tuple(map(str, other)): number for other, number in self.numbers.items()}\n"
        "    if tuple(map(str, path)) in texts:\n"
        "        return texts[tuple(map(str, path))]\n"
        "    if path not in self.numbers:",
    )


@mutant("read", hints=["tree-paths-components", "tree-paths-*"])
def joins_paths_with_dots(oracle: Patches) -> None:
    """Takes ["a", "b"] and ["a.b"] for the same path."""
    oracle.edit(
        opening.OpenItem.number,
        "    if path not in self.numbers:",
        "    texts = {'.'.join(map(str, other)): number for other, number in self.numbers.items()}\n"
        "    if '.'.join(map(str, path)) in texts:\n"
        "        return texts['.'.join(map(str, path))]\n"
        "    if path not in self.numbers:",
    )


@mutant("read", hints=["geometry-tied", "tree-aliases"])
def lists_tied_tensors_once(oracle: Patches) -> None:
    """Gives a tensor of several paths under one of them."""
    oracle.edit(
        operations.read,
        "opened.numbers if wanted is None",
        "{number: path for path, number in opened.numbers.items()}.values() if wanted is None",
    )


@mutant("inspect", hints=["manifest-tensors-sizes", "geometry-empty-large"])
def writes_large_numbers_as_json_numbers(oracle: Patches) -> None:
    """Rounds sizes above 2^53 to doubles on the way."""
    oracle.edit(messages.number, "value if -MAXJSON <= value <= MAXJSON else str(value)", "int(float(value))")
