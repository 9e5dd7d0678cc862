"""``compressor models``: the networks that can be named instead of a file."""

from __future__ import annotations

from compressor.cli.draw import draw
from compressor.cli.options import JsonFlag
from compressor.cli.output import output
from compressor.report import text
from compressor.report.table import table


def models(as_json: JsonFlag = False) -> None:
    """List the networks of the zoo."""
    with output(as_json) as out:
        from compressor.models import zoo

        entries = zoo()
        if as_json:
            out.document(
                [
                    {
                        "name": entry.name,
                        "params": entry.params,
                        "trainable": entry.trainable,
                        "input": list(entry.input_shape),
                        "about": entry.about,
                    }
                    for entry in entries
                ]
            )
            return
        rows = [(e.name, text.count(e.params), text.shape(e.input_shape), e.about) for e in entries]
        draw(out.results, table("name, >parameters, >input, about", rows))
