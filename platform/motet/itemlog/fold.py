"""What an item log comes to: the latest entry of each item, for the next release to be made from."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property

import pyarrow as pa
import pyarrow.compute as pc

from motet.itemlog.entry import ItemEntry
from motet.itemlog.rows import SOURCE
from motet.storage import fingerprint


@dataclass(frozen=True)
class Fold:
    """The latest entry of each item, by item."""

    latest: dict[str, ItemEntry] = field(default_factory=dict)

    @classmethod
    def of(cls, entries: Iterable[ItemEntry]) -> "Fold":
        """Read entries in their order."""
        return cls({entry.item: entry for entry in entries})

    @cached_property
    def adds(self) -> list[ItemEntry]:
        """Those that add an item or replace it."""
        return [entry for entry in self.latest.values() if not entry.removes]

    @cached_property
    def gone(self) -> list[str]:
        """The items that were removed."""
        return [entry.item for entry in self.latest.values() if entry.removes]

    @property
    def key(self) -> str:
        """What it says, and nothing of when or by whom it was said."""
        return fingerprint(sorted([item, entry.columns] for item, entry in self.latest.items()))


def let_log_win(good: pa.Table, gone: list[str]) -> tuple[pa.Table, int, int]:
    """Leave out the rows of files whose items the log has, and all rows of items that it removed.

    Args:
        good: checked rows without problems, of files and of the log.
        gone: the items that were removed.

    Returns:
        (the rows that stay, how many rows are of removed items, how many items only the log has).
    """
    names, is_log = good.column("id").combine_chunks(), pc.equal(good.column("_file"), SOURCE).combine_chunks()
    logged, in_files = names.filter(is_log), names.filter(pc.invert(is_log))
    removed = pc.is_in(names, value_set=pa.array(gone, pa.string()))
    replaced = pc.and_(pc.is_in(names, value_set=logged), pc.invert(is_log))
    stays = good.filter(pc.invert(pc.or_(removed, replaced)))
    added = len(logged) - (pc.sum(pc.is_in(logged, value_set=in_files)).as_py() or 0)
    return stays, int(pc.sum(removed).as_py() or 0), int(added)
