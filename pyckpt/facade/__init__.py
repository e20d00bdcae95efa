"""The calls that most users need: save, save_async, load, open, verify, list, latest, copy, delete, gc, diff."""

from pyckpt.facade.address import Url
from pyckpt.facade.loading import load, load_report, open_
from pyckpt.facade.saving import save, save_async
from pyckpt.facade.stores import copy, delete, diff, gc, latest, list_, verify

__all__ = [
    "Url",
    "copy",
    "delete",
    "diff",
    "gc",
    "latest",
    "list_",
    "load",
    "load_report",
    "open_",
    "save",
    "save_async",
    "verify",
]
