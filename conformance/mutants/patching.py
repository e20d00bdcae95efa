"""Changes of the oracle's code in this process, each of which fails loudly if what it changes is not there."""

from __future__ import annotations
import __future__

import ast
import inspect
import sys
import textwrap
from collections.abc import Callable
from types import FunctionType, ModuleType
from typing import Any, Final

from .. import oracle

__all__ = ["BadPatchError", "Patches"]

_FLAGS: Final = __future__.annotations.compiler_flag


class BadPatchError(Exception):
    """What a mutant is to change is not there, or not as the mutant expects it."""


class Patches:
    """The changes of one mutant, in order; they can be taken back."""

    def __init__(self) -> None:
        self._undo: list[Callable[[], None]] = []

    def edit(self, function: object, before: str, after: str, **uses: object) -> None:
        """Replace a piece of a function's source, which occurs once; `uses` are more names for the new source.

        The function stays the same object with other code: whoever has imported it or holds it in a table runs that.
        """
        plain = _plain(function)
        source = textwrap.dedent(inspect.getsource(plain) if plain.__code__ not in _EDITED else _EDITED[plain.__code__])
        if source.count(before) != 1:
            raise BadPatchError(f"{plain.__qualname__} has {before!r} {source.count(before)} times, not once")
        changed = source.replace(before, after)
        old, new = plain.__code__, _compiled(changed, plain)
        _EDITED[new] = changed
        for name, value in uses.items():
            if name in plain.__globals__:
                raise BadPatchError(f"{plain.__module__} has the name {name}")
            plain.__globals__[name] = value
            self._undo.append(lambda name=name: plain.__globals__.pop(name))  # type: ignore[misc]
        plain.__code__ = new
        self._undo.append(lambda: setattr(plain, "__code__", old))

    def name(self, module: ModuleType, name: str, value: object) -> None:
        """Give a name of a module another value, also in all modules of the oracle that have imported it."""
        if name not in vars(module):
            raise BadPatchError(f"{module.__name__} has no {name}")
        old = vars(module)[name]
        for each in _oracle_modules():
            if vars(each).get(name) is old:
                setattr(each, name, value)
                self._undo.append(lambda each=each: setattr(each, name, old))  # type: ignore[misc]

    def undo(self) -> None:
        """Take all changes back."""
        while self._undo:
            self._undo.pop()()


_EDITED: dict[object, str] = {}
"""Source of code that an edit has made, so that a function can be edited twice."""


def _plain(function: object) -> FunctionType:
    """The function itself, without what decorators made of it."""
    if isinstance(function, property):
        function = function.fget
    function = inspect.unwrap(getattr(function, "func", function))  # type: ignore[arg-type]
    if not isinstance(function, FunctionType):
        raise BadPatchError(f"{function!r} is no function")
    return function


def _compiled(source: str, function: FunctionType) -> Any:
    """The code of a function's changed source, made with the names of its module."""
    tree = ast.parse(source)
    (definition,) = tree.body
    if not isinstance(definition, ast.FunctionDef):
        raise BadPatchError(f"{function.__qualname__} is no def")
    definition.decorator_list = []
    names = dict(function.__globals__)
    exec(compile(tree, f"<mutant {function.__qualname__}>", "exec", _FLAGS, dont_inherit=True), names)  # noqa: S102
    return names[definition.name].__code__


def _oracle_modules() -> list[ModuleType]:
    prefix = f"{oracle.__name__}."
    return [module for name, module in sys.modules.items() if name.startswith(prefix)]
