"""Data sets in parts that fit through a narrow door, and whole again behind it.

    python benchmarks/gpus/parcel.py pack cifar-10 mnist    # from the cache of data sets to .parcels/
    python benchmarks/gpus/parcel.py unpack                 # from .parcels/ to the cache

Every part is at most ``MOST`` bytes, so that each can travel alone; a digest tells whether a file is whole again.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
from pathlib import Path

PARCELS = Path(".parcels")
MOST = 44 << 20


def cache() -> Path:
    return Path(os.environ.get("COMPRESSOR_DATA") or Path.home() / ".cache" / "compressor" / "data")


def pack(names: list[str]) -> list[Path]:
    """Parts of every file of the sets, each with a label that says what it is a part of."""
    PARCELS.mkdir(exist_ok=True)
    parts: list[Path] = []
    for file in (file for name in names for file in sorted((cache() / name).iterdir())):
        content = file.read_bytes()
        pieces = [content[start : start + MOST] for start in range(0, len(content), MOST)]
        for number, piece in enumerate(pieces):
            part = PARCELS / f"{file.parent.name}-{file.stem}-{number}"
            label = {"file": f"{file.parent.name}/{file.name}", "number": number, "count": len(pieces)}
            part.write_bytes(
                json.dumps({**label, "sha256": hashlib.sha256(content).hexdigest()}).encode() + b"\n" + piece
            )
            parts.append(part)
    return parts


def unpack() -> list[Path]:
    """Every file whose parts are all there; one that is not whole ends the program."""
    found: dict[str, dict[int, tuple[dict[str, object], bytes]]] = {}
    for part in sorted(PARCELS.iterdir()):
        first, _, piece = part.read_bytes().partition(b"\n")
        label = json.loads(first)
        found.setdefault(str(label["file"]), {})[label["number"]] = label, piece
    whole: list[Path] = []
    for name, pieces in found.items():
        label = pieces[min(pieces)][0]
        if len(pieces) != label["count"]:
            print(f"{name}: {len(pieces)} of {label['count']} parts")
            continue
        content = b"".join(pieces[number][1] for number in sorted(pieces))
        if hashlib.sha256(content).hexdigest() != label["sha256"]:
            raise SystemExit(f"{name}: its parts do not make it whole")
        file = cache() / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
        whole.append(file)
    return whole


if __name__ == "__main__":
    verb, *sets = sys.argv[1:] or ["unpack"]
    for path in pack(sets) if verb == "pack" else unpack():
        print(path)
