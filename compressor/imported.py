"""The user's own functions, ``package.module:function``: found, called, and named when they fail."""

from __future__ import annotations

import difflib
import importlib
import os
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from compressor.errors import CompressorError, InputError


@contextmanager
def beside_working_directory() -> Iterator[None]:
    """Modules in the working directory are found first, as a script beside them would find them.

    Afterwards they are found last: what user code imports later is still there, and hides nothing of anyone else's.
    """
    here = os.getcwd()
    if here in sys.path or "" in sys.path:
        yield
        return
    sys.path.insert(0, here)
    try:
        yield
    finally:
        if here in sys.path:
            sys.path.remove(here)
        sys.path.append(here)


def import_function(reference: str, use: str, *, callable_only: bool = True) -> Callable[..., Any]:
    """The function (or any other object) that ``reference`` names; modules in the working directory are found too.

    ``use`` says in messages what the function is for. Raises ``InputError`` for a wrong name or a module that fails.
    """
    module_name, _, attribute = reference.partition(":")
    if not module_name or not attribute:
        raise InputError(f"{use}: {reference!r} is not of the form package.module:function")
    with beside_working_directory():
        try:
            found: Any = importlib.import_module(module_name)
        except ImportError as error:
            hint = _like(module_name, _modules_here()) if error.name == module_name else ""
            raise InputError(f"{use}: {module_name} cannot be imported ({error}){hint}") from None
        except (Exception, SystemExit) as error:  # the user's code runs in there
            raise InputError(f"{use}: {module_name} fails when it is imported: {reason_of(error)}") from error
    for part in attribute.split("."):
        if not hasattr(found, part):
            raise InputError(f"{use}: {module_name} has no {attribute!r}{_like(part, _functions_in(found))}")
        found = getattr(found, part)
    if callable_only and not callable(found):
        raise InputError(f"{use}: {reference} is not a function")
    result: Callable[..., Any] = found
    return result


def _like(name: str, known: Iterable[str]) -> str:
    """``"; did you mean 'build'?"``; empty where nothing is like it."""
    near = difflib.get_close_matches(name, list(known), n=1)
    return f"; did you mean {near[0]!r}?" if near else ""


def _modules_here() -> list[str]:
    return [path.stem for path in Path.cwd().glob("*.py")]


def _functions_in(thing: Any) -> list[str]:
    return [name for name in dir(thing) if not name.startswith("_") and callable(getattr(thing, name, None))]


def call_function(function: Callable[..., Any], reference: str, use: str, *args: Any, **options: Any) -> Any:
    """What the user's function returns. Raises ``InputError`` that says where it failed; our own errors pass."""
    with beside_working_directory():
        try:
            return function(*args, **options)
        except CompressorError:
            raise
        except (Exception, SystemExit) as error:
            raise InputError(f"{use}: {reference} failed: {reason_of(error)}") from error


def reason_of(error: BaseException) -> str:
    """``KeyError: 'x' (my_data.py, line 12)``: the innermost line that is the user's own, else the innermost."""
    text = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}".removesuffix(": ")
    if isinstance(error, SyntaxError) and error.filename:
        return f"{text.partition(' (')[0]} ({error.filename}, line {error.lineno})"
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if not Path(frame.filename).is_relative_to(_OURS) and not frame.filename.startswith("<frozen")
    ]
    own = [frame for frame in frames if not _is_installed(frame.filename)] or frames
    return f"{text} ({own[-1].filename}, line {own[-1].lineno})" if own else text


_OURS = Path(__file__).parent


def _is_installed(file: str) -> bool:
    """Whether a source file belongs to Python or to an installed package, and not to the user."""
    return (
        file.startswith("<")
        or any(part in ("site-packages", "dist-packages") for part in Path(file).parts)
        or (Path(file).is_relative_to(os.path.dirname(os.__file__)))
    )
