"""What the prepare stage does to a log, by polars: `prepare_polars.py LOG TARGET` prints the seconds it took."""

import sys
import time
from pathlib import Path

import polars as pl


def main(folder: Path, target: Path) -> float:
    """Check, quarantine, keep one row a user and item, divide by time, and write rows and lists by user."""
    start = time.perf_counter()
    items = pl.read_parquet(folder / "items.parquet", columns=["item_id"])["item_id"]
    rows = pl.read_parquet(folder / "events" / "*.parquet")
    reason = (
        pl.when(pl.col("item_id").is_null()).then(pl.lit("no item"))
        .when(pl.col("timestamp") < 0).then(pl.lit("timestamp"))
        .when(~pl.col("rating").is_between(1, 5)).then(pl.lit("rating"))
        .when(~pl.col("item_id").is_in(items.implode())).then(pl.lit("unknown item"))
    )  # fmt: skip
    rows = rows.with_columns(reason.alias("problem"))
    bad, good = rows.filter(pl.col("problem").is_not_null()), rows.filter(pl.col("problem").is_null())
    kept = good.drop("problem").sort("user_id", "timestamp", "item_id")
    kept = kept.unique(["user_id", "item_id"], keep="last", maintain_order=True)
    ends = [kept["timestamp"].quantile(share, "lower") for share in (0.8, 0.9)]
    part = sum((pl.col("timestamp") > end).cast(pl.Int8) for end in ends)
    kept = kept.with_columns(part.alias("part"), (pl.col("rating") >= 4).alias("like"))
    users = kept.group_by("user_id", maintain_order=True).agg(
        "item_id", "timestamp", "part", "like", "rating", "bought"
    )
    target.mkdir(exist_ok=True)
    for name, table in (("quarantine", bad), ("interactions", kept), ("histories", users)):
        table.write_parquet(target / f"{name}.parquet")
    return time.perf_counter() - start


if __name__ == "__main__":
    print(main(Path(sys.argv[1]), Path(sys.argv[2])))
