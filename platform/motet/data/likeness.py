"""Users with nearly the same items as another one: MinHash signatures, and the bands by which like ones meet.

    signature   for each of 64 hash functions the least hash of the user's items; the share of places in which two
                signatures agree estimates the Jaccard similarity of the item sets (Broder, 1997)
    bands       16 of 4 places: sets of similarity s share a band with probability 1 - (1 - s^4)^16, which is
                0.9998 at s = 0.8 (Leskovec, Rajaraman and Ullman, Mining of Massive Datasets, chapter 3)

Signatures are 256 bytes however many items there are, so users can be compared across shards.
"""

import numpy as np
import pyarrow as pa

from motet.data.cleaning import codes
from motet.data.hashing import mix, text_hash

PLACES, BANDS = 64, 16
_SEEDS_P = mix(np.arange(1, PLACES + 1, dtype=np.uint64))


def signatures(rows: pa.Table, least_items: int) -> pa.Table:
    """Return user, first (int64 milliseconds), signature (64 uint32) of the users with enough items.

    Args:
        rows: user, item, timestamp of whole users, in any order.
        least_items: different items that a user must have.
    """
    if rows.num_rows == 0:
        return _table([], np.zeros(0, np.int64), np.zeros((0, PLACES), np.uint32))
    users = rows.column("user").combine_chunks()
    user_N, item_N = codes(users), codes(rows.column("item"))
    hash_N, moments_N = text_hash(rows.column("item").combine_chunks()), rows.column("timestamp").to_numpy()
    order = np.lexsort((item_N, user_N))
    starts = np.flatnonzero(np.append(True, np.diff(user_N[order]) != 0))
    is_new_N = np.append(True, (np.diff(user_N[order]) != 0) | (np.diff(item_N[order]) != 0))
    enough_U = np.add.reduceat(is_new_N.astype(np.int64), starts) >= least_items
    first_U = np.minimum.reduceat(moments_N[order], starts)
    least_UP = np.empty((len(starts), PLACES), np.uint32)
    for place, seed in enumerate(_SEEDS_P):
        hashed_N = (mix(hash_N[order] ^ seed) >> np.uint64(32)).astype(np.uint32)
        least_UP[:, place] = np.minimum.reduceat(hashed_N, starts)
    names = users.take(pa.array(order[starts[enough_U]]))
    return _table(names, first_U[enough_U], least_UP[enough_U])


def by_band(table: pa.Table) -> pa.Table:
    """Return the rows of `signatures` once a band, each with `band`, an int64 that equal bands have in common."""
    places_UP = _signatures(table)
    tables = []
    for number, part_UR in enumerate(np.split(places_UP, BANDS, axis=1)):
        key_U = np.full(len(part_UR), number, np.uint64)
        for column_U in part_UR.T:
            key_U = mix(key_U ^ column_U.astype(np.uint64))
        tables.append(table.append_column("band", pa.array((key_U >> np.uint64(1)).astype(np.int64))))
    return pa.concat_tables(tables)


def later_ones(table: pa.Table, similarity: float) -> list[str]:
    """Return the users who are like an earlier one with whom they share a band, in the order of their names.

    The earliest, by first event and name, stays, whoever was copied; then those are compared who are not like it.

    Args:
        table: rows of `by_band`; all rows of a band are there.
        similarity: least share of places in which signatures agree.
    """
    table = table.sort_by([("band", "ascending"), ("first", "ascending"), ("user", "ascending")])
    names, band_N, places_NP = table.column("user").to_pylist(), table.column("band").to_numpy(), _signatures(table)
    found: set[str] = set()
    for rows in np.split(np.arange(len(band_N)), np.flatnonzero(np.diff(band_N)) + 1):
        left = rows
        while len(left) > 1:
            alike = (places_NP[left] == places_NP[left[0]]).mean(1) >= similarity
            found.update(names[row] for row in left[alike][1:])
            left = left[~alike]
    return sorted(found)


def _table(names: pa.Array | list[str], first_U: np.ndarray, places_UP: np.ndarray) -> pa.Table:
    flat = pa.array(places_UP.ravel(), pa.uint32())
    columns = {"user": pa.array(names, pa.string()), "first": pa.array(first_U, pa.int64())}
    return pa.table({**columns, "signature": pa.FixedSizeListArray.from_arrays(flat, PLACES)})


def _signatures(table: pa.Table) -> np.ndarray:
    """Return the column as a matrix, uint32 [N, 64]."""
    flat = table.column("signature").combine_chunks().flatten()
    return np.asarray(flat.to_numpy(zero_copy_only=False), np.uint32).reshape(table.num_rows, PLACES)
