"""How the process of a worker begins: bound to its driver before it imports torch, which takes seconds.

    python -m compressor.search.worker_process PARENT

A driver that is killed meanwhile leaves nothing behind that would go on importing, reading data or training.
"""

from __future__ import annotations

import sys

from compressor.processes import die_with_parent


def main(parent: int) -> None:
    die_with_parent(parent)
    from compressor.search.worker import serve  # torch and all that a trial needs

    serve(parent)


if __name__ == "__main__":
    main(int(sys.argv[1]))
