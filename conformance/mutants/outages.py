"""Bugs in what is made of a store's answers and failures."""

from __future__ import annotations

import http.client

from ..oracle import dir_writer, s3_store, store, writable
from .mutant import mutant
from .patching import Patches


@mutant("transaction", hints=["stores-s3-root-500"])
def takes_failures_for_absence(oracle: Patches) -> None:
    """Takes every failure of a bucket for an absent object."""
    oracle.edit(s3_store.S3Store._check, 'if answer.status == 404 and code == "NoSuchKey":', "if answer.status >= 400:")


@mutant("transaction", hints=["stores-s3-cut-object"])
def takes_part_of_a_body(oracle: Patches) -> None:
    """Takes what has come of an answer that was cut off for the whole."""
    oracle.edit(
        s3_store._Answer.body,
        "    return self._response.read()",
        "    try:\n        return self._response.read()\n    except Incomplete as part:\n        return part.partial",
        Incomplete=http.client.IncompleteRead,
    )
    oracle.edit(s3_store.S3Store.get_range, "if len(data) != end - begin:", "if False:")


@mutant("read", hints=["stores-s3-short-object"])
def takes_short_ranges(oracle: Patches) -> None:
    """Takes an answer of fewer bytes than were asked for."""
    oracle.edit(s3_store.S3Store.get_range, "if len(data) != end - begin:", "if False:")


@mutant("inspect", hints=["stores-s3-pages"])
def reads_first_page_of_listings(oracle: Patches) -> None:
    """Reads the first page of a listing alone."""
    oracle.edit(s3_store.S3Store._pages, 'if page.findtext(f"{_NAMESPACE}IsTruncated") != "true":', "if True:")


@mutant("transaction", hints=["tx-write-directory-kill-after"])
def creates_objects_in_place(oracle: Patches) -> None:
    """Writes a root in a directory into the file under its own name."""
    oracle.edit(
        dir_writer.WritableDirectory.create_if_absent,
        "        with _temporary(folder, data) as made:",
        "        if path.endswith('checkpoint.json'):\n"
        "            try:\n"
        "                with open(path, 'xb') as file:\n"
        "                    file.write(data)\n"
        "                return True\n"
        "            except FileExistsError:\n"
        "                return False\n"
        "        with _temporary(folder, data) as made:",
    )


@mutant("transaction", hints=["write-asset-taken"])
def renames_root_into_place(oracle: Patches) -> None:
    """Renames a root in a directory over whatever is there."""
    oracle.edit(dir_writer.WritableDirectory.create_if_absent, "os.link(made, path)", "os.replace(made, path)")


@mutant("write", hints=["stores-link-write-c"])
def writes_through_links(oracle: Patches) -> None:
    """Writes through symbolic links that lead out of the store."""
    oracle.edit(store.DirectoryStore._inside, "if os.path.commonpath([self._root, path]) != self._root:", "if False:")


@mutant("transaction", hints=["stores-s3-root-answer-lost"])
def repeats_without_a_look(oracle: Patches) -> None:
    """Repeats a creation whose answer was lost without looking at what is there, and finds itself beaten."""
    oracle.edit(writable.claim, 'return "same" if there else "taken"', 'return "taken"')


@mutant("transaction", hints=["stores-s3-root-request-lost", "stores-s3-root-*", "stores-s3-marker-put-fails"])
def takes_lost_answers_for_success(oracle: Patches) -> None:
    """Takes a creation without an answer for done."""
    oracle.edit(writable.claim, "        clear = False\n", "        return 'created'\n")


@mutant("transaction", hints=["stores-s3-root-answer-lost"])
def gives_up_at_lost_answers(oracle: Patches) -> None:
    """Takes a creation without an answer for a creation by somebody else."""
    oracle.edit(writable.claim, "        clear = False\n", "        return 'taken'\n")
