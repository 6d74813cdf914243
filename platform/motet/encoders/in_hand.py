"""Which texts the processes of a pool have in hand, so that a text that kills its process is found and left out.

A process says what it is about to encode in a file that it locks; the kernel frees the lock however the process ends.
Whoever finds such a file without a lock knows what its process had in hand when it died:

    in_hand/hand-<process>     keys of the texts, held by a process that lives
    in_hand/suspects-<process> keys of several texts, one of which may have killed it: each is tried in a smaller group
    in_hand/killed-<key>       a letter for each process that died with this text alone in hand; at two it is left out

A process may die of something else. Then its texts are tried in small groups, which costs a little time, and nothing
is left out unless that happens twice to the same text alone. What was found out stays for later runs; delete the
folder to have all texts tried again.
"""

import fcntl
import logging
import os
import uuid
from collections.abc import Sequence
from pathlib import Path

FOLDER = "in_hand"
MOST_KILLED = 2
_PARTS = 32
"""Into so many groups suspects are divided, the killer among them being in one."""
_log = logging.getLogger(__name__)


class InHand:
    """The hands of one process, and what became of those of others.

    Args:
        folder: of the files; made if it is not there.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self._name = f"hand-{uuid.uuid4().hex}"
        new = folder / f".{self._name}"
        self._file = os.open(new, os.O_CREAT | os.O_RDWR, 0o644)
        fcntl.flock(self._file, fcntl.LOCK_EX)
        new.rename(folder / self._name)

    def take(self, keys: Sequence[str]) -> None:
        """Say that these texts are in hand; with none, that nothing is."""
        os.ftruncate(self._file, 0)
        os.pwrite(self._file, "\n".join(keys).encode(), 0)

    def look(self) -> None:
        """Note what those had in hand who died."""
        for path in self.folder.glob("hand-*"):
            if path.name != self._name and _is_left(path):
                self._note(path)

    def _note(self, path: Path) -> None:
        try:
            keys = path.read_text().split()
            if len(keys) > 1:
                path.rename(path.with_name(path.name.replace("hand", "suspects")))
                _log.warning("a process died with %d texts in hand; they are tried in smaller groups", len(keys))
                return
            path.unlink()
        except FileNotFoundError:  # somebody else was faster
            return
        for key in keys:
            with (self.folder / f"killed-{key}").open("a") as file:
                file.write("x")
            _log.warning("a process died with text %s alone in hand", key)

    def killers(self) -> set[str]:
        """Return the keys of texts that are left out."""
        counts = {path.name.removeprefix("killed-"): path.stat().st_size for path in self.folder.glob("killed-*")}
        return {key for key, count in counts.items() if count >= MOST_KILLED}

    def groups(self, keys: Sequence[str]) -> tuple[list[int], list[list[int]]]:
        """Divide texts into those that nothing is known of, and groups of suspects to be tried one after another.

        Returns:
            Rows of `keys`: of the first, and of each group.
        """
        most = {path.name.removeprefix("killed-"): 1 for path in self.folder.glob("killed-*")}
        for path in self.folder.glob("suspects-*"):
            named = path.read_text().split()
            for key in named:
                most[key] = min(most.get(key, len(named)), max(1, len(named) // _PARTS))
        free = [row for row, key in enumerate(keys) if key not in most]
        groups: list[list[int]] = []
        for size in sorted(set(most.values()), reverse=True):
            rows = [row for row, key in enumerate(keys) if most.get(key) == size]
            groups += [rows[start : start + size] for start in range(0, len(rows), size)]
        return free, groups


def _is_left(path: Path) -> bool:
    """Return whether the process that held a file is no more."""
    try:
        file = os.open(path, os.O_RDWR)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return path.exists()
    except BlockingIOError:
        return False
    finally:
        os.close(file)
