"""`docs/results.schema.json`: what a results folder and the `json` report hold, for programs that do not use Tare.

Made from the types that read and write them, so it cannot say anything else. `python -m reports.schema` prints it.
"""

from __future__ import annotations

import msgspec

from harness.model import SCHEMA, Run, Trial
from reports import document


def schema() -> str:
    """The top describes the `json` report; `$defs/Run` is `run.json`, `$defs/Trial` a line of `trials.jsonl`."""
    (top, *_), parts = msgspec.json.schema_components([document.Document, Run, Trial], ref_template="#/$defs/{name}")
    whole = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": f"{document.SCHEMA}, with {SCHEMA} inside",
        "description": "The json report. $defs/Run is run.json, $defs/Trial one line of trials.jsonl.",
        **top,
        "$defs": dict(sorted(parts.items())),
    }
    return msgspec.json.format(msgspec.json.encode(whole), indent=1).decode() + "\n"


if __name__ == "__main__":
    print(schema(), end="")
