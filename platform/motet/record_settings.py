"""The section `serve.records` of a recipe: which answers are logged, where, and how soon they are on the disk."""

from typing import Literal

from pydantic import Field

from motet.data_settings import Section


class RecordSettings(Section):
    """The log of answers: for each request the candidates, their scores and places."""

    store: Literal["parquet", "none"] = "parquet"
    """Parquet files, or no records."""
    path: str | None = Field(default=None, min_length=1)
    """Folder of the files; `recommendations` in the workspace if not set."""
    share: float = Field(default=1.0, gt=0, le=1)
    """Share of the requests that are logged, chosen by a hash of their ids."""
    flush_s: float = Field(default=5.0, gt=0, le=3600)
    """Seconds after which waiting records are written, and so the most that a killed process loses."""
    rows: int = Field(default=1000, ge=1, le=100_000)
    """Records at which a file is written at once."""
    waiting: int = Field(default=5000, ge=1)
    """Most records that wait to be written; more are dropped and counted, answers never wait."""
