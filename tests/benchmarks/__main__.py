"""`python -m tests.benchmarks NAME`: runs one benchmark, prints its table, writes JSON beside it; exit 1 on a miss."""

from __future__ import annotations

import argparse
import importlib
import json
import sys
from pathlib import Path

from harness import host
from tests.benchmarks import frame

FOLDER = Path(__file__).parent
NOT_BENCHMARKS = {"__init__", "__main__", "frame", "bare_qemu", "virtme"}


def names() -> list[str]:
    return sorted({path.stem for path in FOLDER.glob("*.py")} - NOT_BENCHMARKS)


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="tare-test bench", description=f"Benchmarks: {', '.join(names())}.")
    parser.add_argument("name", choices=names())
    parser.add_argument("--only", default="", metavar="WORD", help="only rows whose function's name holds WORD")
    parser.add_argument("--json", type=Path, metavar="PATH", help="default: build/bench/NAME.json")
    said = parser.parse_args(arguments)
    module = importlib.import_module(f"tests.benchmarks.{said.name}")
    rows = frame.measure([bench for bench in module.ROWS if said.only in bench.__name__])
    path = said.json or Path("build/bench") / f"{said.name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(
        json.dumps({"benchmark": said.name, "host": host.describe(), "rows": frame.as_data(rows)}, indent=1)
    )
    print(frame.table(rows))
    print(f"written to {path}")
    print(frame.summary(rows))
    return int(any(row.verdict == "missed" for row in rows))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
