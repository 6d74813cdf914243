"""Appends events in groups and prints the ids of each group once it is durable; to be killed. FOLDER SEED"""

import random
import sys
from pathlib import Path

from motet.events.event import Event
from motet.events.segments import Segments


def main(folder: str, first: int) -> None:
    store, size = Segments(Path(folder), 4096), random.Random(first)
    store.open()
    print("open", flush=True)
    number = first
    while True:
        names = [f"e{n}" for n in range(number, number + size.randint(1, 40))]
        store.append([Event(name, "u1", "i" * size.randint(1, 100), 1_700_000_000_000) for name in names])
        print(" ".join(names), flush=True)
        number += len(names)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
