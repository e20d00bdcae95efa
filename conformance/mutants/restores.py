"""Bugs of programs that fill a state from a checkpoint."""

from __future__ import annotations

from ..oracle import indexed, restore, restore_optimizer, restore_rng
from .mutant import mutant
from .patching import Patches


@mutant("state", hints=["state-nearest-5-3"])
def rounds_nearest_up(oracle: Patches) -> None:
    """Rounds up where `nearest` rounds down."""
    oracle.edit(
        indexed.Loading.chosen, "self.index * stored // self.size", "-(-self.index * stored // self.size) % stored"
    )


@mutant("state", hints=["state-nearest-4-2"])
def takes_last_for_nearest(oracle: Patches) -> None:
    """Takes its own index, or the last one, for `nearest`."""
    oracle.edit(indexed.Loading.chosen, "self.index * stored // self.size", "min(self.index, stored - 1)")


@mutant("state", hints=["state-indexed-error-4-2"])
def ignores_rule_error(oracle: Patches) -> None:
    """Loads per-rank values of another number of ranks without being told to."""
    oracle.edit(
        indexed.Loading.chosen,
        'raise Mismatch([f"{name}: stored for {stored} indices, loaded by {self.size}"])',
        "return self.index % stored",
    )


@mutant("state", hints=["state-indexed-same-nearest"])
def applies_nearest_always(oracle: Patches) -> None:
    """Gives every process the first value when it loads by the same number."""
    oracle.edit(indexed.Loading.chosen, "return self.index\n", "return 0\n")


@mutant("state", hints=["state-optimizer-absent-state"])
def fills_absent_state(oracle: Patches) -> None:
    """Gives parameters without state a state of zeros."""
    oracle.edit(
        restore._optimizer,
        "sorted(loaded.state)",
        "sorted({*loaded.state, *(name for group in groups for name in group.params)})",
    )


@mutant("state", hints=["state-optimizer-absent-state-removed"])
def keeps_state_from_before(oracle: Patches) -> None:
    """Leaves state that the target has from before where the checkpoint has none."""
    oracle.edit(restore._optimizer, "sorted(loaded.state)", "sorted({*loaded.state, *(target.get('stateful') or ())})")


@mutant("state", hints=["state-optimizer-groups-swapped-ids"])
def matches_groups_by_id(oracle: Patches) -> None:
    """Matches parameter groups by their ids."""
    oracle.edit(
        restore_optimizer._sources,
        "places = {place_of[name] for name in group.params}",
        "places = {place for place, other in enumerate(target) if other.id == group.id}",
    )


@mutant("state", hints=["state-optimizer-groups-by-params"])
def matches_groups_by_position(oracle: Patches) -> None:
    """Matches parameter groups by their position."""
    oracle.edit(
        restore_optimizer._sources, "    wrong = []\n", "    return dict(enumerate(stored.groups))\n    wrong = []\n"
    )


@mutant("state", hints=["state-optimizer-refused-spread"])
def spreads_groups(oracle: Patches) -> None:
    """Takes over a group whose parameters are spread over several groups of the target."""
    oracle.edit(restore_optimizer._sources, "if len(places) > 1:", "if False:")


@mutant("state", hints=["state-optimizer-refused-two-groups"])
def accepts_parameters_in_two_groups(oracle: Patches) -> None:
    """Accepts an optimizer in which a parameter is in two groups."""
    oracle.edit(restore_optimizer._check_members, "if every.count(name) > 1", "if False")


@mutant("state", hints=["state-optimizer-refused-no-group"])
def accepts_state_without_group(oracle: Patches) -> None:
    """Accepts an optimizer in which a parameter has state and is in no group."""
    oracle.edit(restore_optimizer._check_members, "for name in state if name not in every]", "for name in ()]")


@mutant("state", hints=["state-optimizer-unknown-top"])
def refuses_unknown_keys_of_optimizers(oracle: Patches) -> None:
    """Refuses an optimizer with keys that it does not know."""
    oracle.edit(
        restore_optimizer.stored_optimizer,
        '    for key in ("state", "groups"):',
        '    if len(top) > 2:\n        raise Mismatch([\'an unknown key\'])\n    for key in ("state", "groups"):',
    )


@mutant("state", hints=["state-model-refused-missing"])
def fills_refused_targets(oracle: Patches) -> None:
    """Fills what fits of a target before it refuses the rest."""
    oracle.edit(
        restore._Model.load,
        "    self.check(opened)\n",
        "    for place, (path, dtype, shape) in enumerate(self.rows):\n"
        "        number = opened.numbers.get(path)\n"
        "        if number is not None:\n"
        "            row = opened.manifest.tensors[number]\n"
        "            if (row.dtype.name, row.shape) == (dtype, shape):\n"
        "                self.data[place] = read_region(opened, number, whole(shape))\n"
        "    self.check(opened)\n",
    )


@mutant("state", hints=["state-model-refused-several"])
def reports_first_mismatch_alone(oracle: Patches) -> None:
    """Reports one of several mismatches."""
    oracle.edit(restore._Model.check, "raise Mismatch(wrong)", "raise Mismatch(wrong[:1])")


@mutant("state", hints=["state-model-refused-missing"])
def ignores_missing_tensors(oracle: Patches) -> None:
    """Leaves tensors of the target as they are that the checkpoint lacks."""
    oracle.edit(
        restore._Model.check, '            wrong.append(f"missing: {_shown(path)} is not in the checkpoint")\n', ""
    )
    oracle.edit(
        restore._Model.load,
        "read_region(opened, opened.number(path), whole(shape)) for path, _, shape in self.rows",
        "read_region(opened, opened.number(row[0]), whole(row[2])) if row[0] in opened.numbers else data"
        " for row, data in zip(self.rows, self.data)",
    )


@mutant("state", hints=["state-model-refused-unexpected"])
def ignores_further_tensors(oracle: Patches) -> None:
    """Passes over tensors of the checkpoint that the target lacks."""
    oracle.edit(restore._Model.check, "for path in opened.numbers if path not in wanted]", "for path in ()]")


@mutant("state", hints=["state-model-refused-dtype-same-size"])
def converts_dtypes(oracle: Patches) -> None:
    """Fills a tensor of another dtype with the stored bits."""
    oracle.edit(restore._Model.check, "if row.dtype.name != dtype:", "if row.dtype.bits != DTYPES[dtype].bits:")


@mutant("state", hints=["state-model-refused-shape-flat"])
def reshapes(oracle: Patches) -> None:
    """Fills a tensor of another shape with as many elements."""
    oracle.edit(
        restore._Model.check, "if row.shape != shape:", "if whole(row.shape).elements != whole(shape).elements:"
    )
    oracle.edit(
        restore._Model.load,
        "opened.number(path), whole(shape))",
        "opened.number(path), whole(opened.manifest.tensors[opened.number(path)].shape))",
    )


@mutant("state", hints=["state-rng-reseed"])
def reseeds_all_alike(oracle: Patches) -> None:
    """Gives all processes the same new seeds."""
    oracle.edit(restore_rng._Generators.seeds, 'loading.index.to_bytes(8, "little")', "bytes(8)")


@mutant("state", hints=["state-rng-reseed"])
def reseeds_with_big_endian_index(oracle: Patches) -> None:
    """Hashes the index in big-endian byte order when it reseeds."""
    oracle.edit(
        restore_rng._Generators.seeds, 'loading.index.to_bytes(8, "little")', 'loading.index.to_bytes(8, "big")'
    )


@mutant("state", hints=["state-rng-reseed"])
def does_not_halve_torch_seed(oracle: Patches) -> None:
    """Takes all 64 bits for the seed of torch."""
    oracle.edit(restore_rng._Generators.seeds, 'digest[12:20], "little") // 2', 'digest[12:20], "little")')


@mutant("state", hints=["state-rng-restored-though-reseeding"])
def reseeds_always(oracle: Patches) -> None:
    """Reseeds though as many processes load as have saved."""
    oracle.edit(
        restore_rng.restore_rng, "any(len(values.values) != loading.size for values in stored.values())", "True"
    )


@mutant("state", hints=["state-rng-refused-position"])
def accepts_any_position(oracle: Patches) -> None:
    """Accepts a state of Python's generator whose position is out of range."""
    oracle.edit(restore_rng._Generators.check_content, "if position > _WORDS:", "if False:")


@mutant("state", hints=["state-rng-refused-algorithm"])
def accepts_any_algorithm(oracle: Patches) -> None:
    """Accepts a state of NumPy's generator of another algorithm."""
    oracle.edit(restore_rng._Generators.numpy, 'if members.get("algorithm") != "MT19937":', "if False:")


@mutant("state", hints=["state-rng-refused-short-state"])
def accepts_states_of_any_length(oracle: Patches) -> None:
    """Accepts a state of a generator of another length."""
    oracle.edit(restore_rng._Generators.tensor, "row.shape == shape)", "len(row.shape) == 1)")
