"""``compressor resume``: go on with a run that was interrupted."""

from __future__ import annotations

import typer

from compressor.cli.options import Json, RunDir
from compressor.cli.output import output


def resume(folder: RunDir, as_json: Json = False) -> None:
    """Go on with a run that was interrupted; no finished trial is run again. Exit codes are those of optimize."""
    with output(as_json) as out:
        from compressor.cli.run import carry_out
        from compressor.search.run_folder import RunFolder

        code = carry_out(RunFolder.open(folder), out)
    if code:
        raise typer.Exit(code)
