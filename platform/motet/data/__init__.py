"""From raw logs to clean tables, features, splits and histories: pyarrow table in, pyarrow table out."""
