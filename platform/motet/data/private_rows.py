"""Rows by the names that a workspace stores: pseudonyms where the recipe asks for them, nobody who was forgotten."""

import pyarrow as pa
import pyarrow.compute as pc

from motet.privacy.privacy import Privacy

FORGOTTEN = "#forgotten"
"""The `_problem` of a row whose user was forgotten; it goes into the ledger and nowhere else."""


def with_names(table: pa.Table, key: str, privacy: Privacy) -> pa.Table:
    """Return checked rows with users as they are stored; of those who were forgotten only the file's row is left.

    Args:
        table: from `contracts.check_interactions` or `check_entities`.
        key: the column of the user.
        privacy: of the workspace.
    """
    names, gone = privacy.apply(table.column(key).combine_chunks())
    problems = pc.if_else(gone, pa.scalar(FORGOTTEN), table.column("_problem").combine_chunks())
    raw = pc.if_else(gone, pa.scalar(None, pa.string()), table.column("_raw").combine_chunks())
    new = {key: pc.if_else(gone, pa.scalar(None, pa.string()), names), "_problem": problems, "_raw": raw}
    for name, column in new.items():
        table = table.set_column(table.column_names.index(name), name, column)
    return table


def take_forgotten(table: pa.Table) -> tuple[pa.Table, int]:
    """Remove the rows of users who were forgotten; return how many there were."""
    gone = pc.equal(pc.fill_null(table.column("_problem"), ""), FORGOTTEN)
    return table.filter(pc.invert(gone)), pc.sum(gone).as_py() or 0
