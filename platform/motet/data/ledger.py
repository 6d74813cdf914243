"""The row ledger: read = kept + quarantined + merged + removed + forgotten, or the stage fails."""

import json
from collections import Counter
from dataclasses import asdict, dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from motet.data.reading import COUNT
from motet.errors import DataError

_QUARANTINE = pa.schema([("file", pa.string()), ("row", pa.int64()), ("reason", pa.string()), ("raw", pa.string())])


@dataclass
class Ledger:
    """How many rows of a table were read and what became of each."""

    read: int = 0
    kept: int = 0
    quarantined: int = 0
    merged: int = 0
    reasons: Counter[str] = field(default_factory=Counter)
    removed: int = 0
    """Rows of items that the item log removed."""
    added: int = 0
    """Of those kept, the items that the item log alone has."""
    forgotten: int = 0
    """Rows of users who were forgotten."""

    def add(self, other: "Ledger") -> None:
        """Add the counts of a part."""
        self.read += other.read
        self.kept += other.kept
        self.quarantined += other.quarantined
        self.merged += other.merged
        self.removed += other.removed
        self.added += other.added
        self.forgotten += other.forgotten
        self.reasons.update(other.reasons)

    def check(self, table: str) -> None:
        """Raise DataError unless the ledger balances."""
        found = self.kept + self.quarantined + self.merged + self.removed + self.forgotten
        of_removed = f"removed {self.removed} + " if self.removed else ""
        of_removed += f"forgotten {self.forgotten} + " if self.forgotten else ""
        if self.read != found:
            raise DataError(
                f"the row ledger of {table} is out of balance: read {self.read} rows but kept {self.kept} + "
                f"{of_removed}quarantined {self.quarantined} + merged {self.merged} = {found}; "
                "rows were lost or doubled, run again"
            )

    def to_dict(self) -> dict[str, Any]:
        """Return the ledger as JSON types."""
        return {**asdict(self), "reasons": dict(sorted(self.reasons.items()))}

    @classmethod
    def from_dict(cls, value: dict[str, Any]) -> "Ledger":
        """Rebuild a ledger from `to_dict`."""
        return cls(**{**value, "reasons": Counter(value["reasons"])})


def take_counts(table: pa.Table) -> tuple[pa.Table, int]:
    """Remove the readers' `#count` rows and return the number of rows that they say were read."""
    is_count = pc.equal(pc.fill_null(table.column("_problem"), ""), COUNT)
    counted = pc.sum(table.filter(is_count).column("_row")).as_py() or 0
    return table.filter(pc.invert(is_count)), int(counted)


def quarantine_rows(bad: pa.Table) -> pa.Table:
    """Return file, row, reason and raw (JSON, cut at 2,000 characters) of the rows that were refused."""
    typed = [name for name in bad.column_names if not name.startswith("_")]
    raw = bad.column("_raw").to_pylist()
    if None in raw:
        values = bad.select(typed).to_pylist()
        raw = [text or json.dumps(row, default=str)[:2000] for text, row in zip(raw, values, strict=True)]
    columns = [bad.column("_file"), bad.column("_row"), bad.column("_problem"), pa.array(raw, pa.string())]
    return pa.table(columns, schema=_QUARANTINE)
