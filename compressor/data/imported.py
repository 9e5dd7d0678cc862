"""Names of the user's own functions, ``package.module:function``, turned into the functions."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable
from typing import Any

from compressor.errors import InputError


def import_function(reference: str, use: str) -> Callable[..., Any]:
    """The function that ``reference`` names; modules in the working directory are found too.

    ``use`` says in messages what the function is for. Raises ``InputError`` for a wrong name or a module that fails.
    """
    module_name, _, attribute = reference.partition(":")
    if not module_name or not attribute:
        raise InputError(f"{use}: {reference!r} is not of the form package.module:function")
    here = os.getcwd()
    added = here not in sys.path
    if added:
        sys.path.insert(0, here)
    try:
        found: Any = importlib.import_module(module_name)
        for part in attribute.split("."):
            found = getattr(found, part)
    except ImportError as error:
        raise InputError(f"{use}: {module_name} cannot be imported ({error})") from None
    except AttributeError:
        raise InputError(f"{use}: {module_name} has no {attribute!r}") from None
    finally:
        if added and here in sys.path:
            sys.path.remove(here)
    if not callable(found):
        raise InputError(f"{use}: {reference} is not a function")
    result: Callable[..., Any] = found
    return result
