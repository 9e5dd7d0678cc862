"""The number of the run folder's format changes with what its files hold: an older folder is never called damaged."""

from __future__ import annotations

import dataclasses
import hashlib
import importlib
import json
import pkgutil
import typing
from collections.abc import Iterator
from typing import Any

import compressor
from compressor.search.format import FORMAT
from compressor.stored import Stored

KNOWN = {2: "a32f0d51af54bfa9"}
"""What the files hold, in each format from the second on: digests of their fields and types."""


def stored() -> Iterator[tuple[str, Stored[Any]]]:
    """Every kind of file that the toolkit writes as data."""
    for found in pkgutil.walk_packages(compressor.__path__, "compressor."):
        if found.name.startswith(("compressor.engine.", "compressor.search.")):
            module = importlib.import_module(found.name)
            yield from ((f"{found.name}.{n}", value) for n, value in vars(module).items() if isinstance(value, Stored))


def add_classes(hint: Any, found: set[type]) -> None:
    """Add the dataclasses that a type is made of, however deep."""
    if dataclasses.is_dataclass(hint) and isinstance(hint, type) and hint not in found:
        found.add(hint)
        for inner in typing.get_type_hints(hint).values():
            add_classes(inner, found)
    for inner in typing.get_args(hint):
        add_classes(inner, found)


def test_the_files_of_a_run_folder_are_those_of_its_format() -> None:
    kinds = dict(stored())
    assert len(kinds) > 8
    classes: set[type] = set()
    for kind in kinds.values():
        add_classes(kind.kind, classes)
    held = sorted((each.__qualname__, [(f.name, str(f.type)) for f in dataclasses.fields(each)]) for each in classes)
    digest = hashlib.sha256(json.dumps(held).encode()).hexdigest()[:16]
    assert KNOWN.get(FORMAT) == digest, (
        f"what the files of a run folder hold has changed: raise FORMAT in compressor/search/format.py where a folder "
        f"of the last version can no longer be read, and write {FORMAT}: {digest!r} here"
    )
