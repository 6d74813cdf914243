"""Hashes of ids that are the same in every process and on every machine.

Python's own `hash()` is salted per process and must not decide a shard, a split or a sample.
"""

import hashlib
import zlib

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc


def text_hash(values: pa.Array) -> np.ndarray:
    """Return one uint64 per value: CRC-32 of its UTF-8 bytes, spread over 64 bits. Null hashes as ''."""
    encoded = pc.fill_null(values, "").dictionary_encode()
    if isinstance(encoded, pa.ChunkedArray):
        encoded = encoded.combine_chunks()
    unique = np.array([zlib.crc32(v.encode()) for v in encoded.dictionary.to_pylist()], dtype=np.uint64)
    codes = encoded.indices.to_numpy(zero_copy_only=False)
    return mix(unique[codes] if len(unique) else np.zeros(0, np.uint64))


def mix(values_N: np.ndarray) -> np.ndarray:
    """Spread uint64 values evenly (the finaliser of SplitMix64; Steele, Lea and Flood 2014)."""
    with np.errstate(over="ignore"):
        z = values_N.astype(np.uint64) + np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return z ^ (z >> np.uint64(31))


def shard_of(users: pa.Array, shards: int) -> np.ndarray:
    """Return each user's shard in 0..shards-1 as int32."""
    return (text_hash(users) % np.uint64(shards)).astype(np.int32)


def tie_breaker(users: pa.Array, items: pa.Array, seed: int) -> np.ndarray:
    """Return a pseudo-random uint64 per (user, item) that orders events of the same moment."""
    with np.errstate(over="ignore"):
        return mix(text_hash(users) * np.uint64(3) + text_hash(items) + mix(np.array([seed], np.uint64)))


def uniform(*texts: str) -> float:
    """Return a number in [0, 1) that texts decide, evenly spread over different ones (53 bits of BLAKE2b)."""
    digest = hashlib.blake2b("\0".join(texts).encode(), digest_size=8).digest()
    return (int.from_bytes(digest, "big") >> 11) / (1 << 53)
