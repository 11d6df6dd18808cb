"""The flat table of `csv` as Parquet: typed columns, a tenth of the size, for pandas, DuckDB and their like.

pyarrow writes it. At fifty megabytes it is no part of an ordinary installation: the extra `parquet` brings it.
"""

from __future__ import annotations

import importlib.util
import io
from collections.abc import Sequence
from dataclasses import dataclass

from harness.errors import UsageError
from harness.model import Results
from reports import tidy


@dataclass(frozen=True, slots=True)
class ParquetReport:
    """One row per sample. The same results give the same bytes under the same pyarrow."""

    name: str = "parquet"
    suffix: str = ".parquet"

    def render(self, results: Sequence[Results]) -> bytes:
        if importlib.util.find_spec("pyarrow") is None:
            raise UsageError("parquet needs pyarrow, which is not installed", hint="pip install 'tare-bench[parquet]'")
        table = tidy.everything(tidy.read(results)).reset_index(drop=True)
        numbers = {"block": "int64", "position": "int64", "index": "int64", "value": "float64"}
        truths = dict.fromkeys(("twin", "warmup", "emulated"), "bool")
        words = {name: "str" for name in table.columns if name not in (*numbers, *truths, "elapsed_s", "settle_s")}
        times = {"elapsed_s": "float64", "settle_s": "float64"}
        written = io.BytesIO()
        table.astype({**numbers, **truths, **words, **times}).to_parquet(written, engine="pyarrow", compression="zstd")
        return written.getvalue()


parquet = ParquetReport()
