"""Faults of publishing: killed at any step, two at once, damaged anywhere. A reader sees one whole release."""

import itertools
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from motet.data.parquet import read_parquet, write_parquet
from motet.errors import MotetError
from motet.release import publish
from motet.release.bundle import verify
from motet.release.publish import Releases
from motet.retrieval.index import VectorIndex
from motet.settings import IndexSettings, ReleaseSettings
from motet.storage import write_manifest
from tests.builders import Tiny
from tests.chaos.rig import record
from tests.drafts import write_draft
from tests.motet.release.test_gate import _report, _written

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(600)]

KILLS, REPLAYED = 500, 25
"""How often it is killed; in each 25th the golden requests are replayed, which takes seconds and writes nothing."""
SETTINGS = ReleaseSettings(golden_requests=1)
WRITES = {"open", "os.mkdir", "os.rename", "os.remove", "os.rmdir", "shutil.copyfile", "shutil.rmtree", "os.chmod",
          "os.link", "os.symlink", "os.truncate", "fcntl.flock"}  # fmt: skip


def start_child(work) -> int:
    """Run something in a forked process, which knows all modules already; return its pid."""
    pid = os.fork()
    if pid == 0:
        try:
            work()
            os._exit(0)
        except BaseException:  # the child must never go on as a test
            os._exit(9)
    return pid


def in_child(work) -> int:
    """Run something in a forked process to its end; return how it ended."""
    return os.waitpid(start_child(work), 0)[1]


def publish_once(workspace: Path, draft: Path, report: Path, replay: bool, dies_at: int | None = None) -> None:
    """Publish; die at the n-th step that the operating system is asked for."""
    if not replay:
        publish.replay_in_child = lambda folder: None
    steps = itertools.count()

    def watch(event: str, _: object) -> None:
        if event in WRITES and next(steps) == dies_at:
            os.kill(os.getpid(), signal.SIGKILL)

    if dies_at is not None:
        sys.addaudithook(watch)
    Releases(workspace).publish(draft, report, SETTINGS, {"recipe": "tiny"})


def steps_of_a_publish(workspace: Path, draft: Path, report: Path) -> int:
    """How many such steps a whole one takes."""
    read, write = os.pipe()

    def work() -> None:
        publish.replay_in_child = lambda folder: None
        count = 0

        def watch(event: str, _: object) -> None:
            nonlocal count
            count += event in WRITES

        sys.addaudithook(watch)
        Releases(workspace).publish(draft, report, SETTINGS, {"recipe": "tiny"})
        os.write(write, str(count).encode())

    assert in_child(work) == 0
    os.close(write)
    return int(os.read(read, 20))


def is_sound(releases: Releases) -> tuple[int, int]:
    """(releases that are listed and damaged, 1 if the current one is none that is whole)."""
    damaged = 0
    for one in releases.all():
        try:
            releases.verified(one.id)
        except MotetError:
            damaged += 1
    try:
        releases.current()
    except MotetError:
        return damaged, 1
    return damaged, 0


def test_f27_killed_at_every_step(workspace, draft, tmp_path):
    """At each step in turn, over and over, until it was killed 500 times."""
    releases, report = Releases(workspace), _written(tmp_path / "report", _report())
    steps = steps_of_a_publish(workspace, draft, report)
    assert steps > 100
    killed, mixed, unreadable, moved, began = 0, 0, 0, 0, time.monotonic()
    for number in itertools.count():
        if killed == KILLS:
            break
        before, at = releases.current_id(), number % steps if number < steps else random.Random(number).randrange(steps)
        replay = number % REPLAYED == 0
        status = in_child(lambda at=at, replay=replay: publish_once(workspace, draft, report, replay, at))
        assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0, status
        killed += os.WIFSIGNALED(status)
        damaged, lost = is_sound(releases)
        mixed, unreadable, moved = mixed + damaged, unreadable + lost, moved + (releases.current_id() != before)
        for old in releases.all()[:-2]:
            if not old.current:
                shutil.rmtree(old.folder)
    assert in_child(lambda: publish_once(workspace, draft, report, True)) == 0
    left = [path.name for path in releases.folder.glob("*.tmp")]
    figures = {
        "kills": killed, "steps of a publish": steps, "mixed or damaged releases listed": mixed,
        "times without a readable release": unreadable, "published all the same": moved,
        "temporary folders left after the next": len(left), "seconds": round(time.monotonic() - began),
    }  # fmt: skip
    record("F27", "publish killed at every step", "SIGKILL at the n-th system call that writes", figures)
    assert (mixed, unreadable, left) == (0, 0, [])


def test_f28_a_flipped_bit_in_any_file(workspace):
    releases, chance = Releases(workspace), random.Random(1)
    folder = releases.current()
    found, tried = 0, 0
    for path in sorted(one for one in folder.rglob("*") if one.is_file()):
        whole = path.read_bytes()
        for _ in range(10):
            place, bit = chance.randrange(len(whole)), chance.randrange(8)
            broken = bytearray(whole)
            broken[place] ^= 1 << bit
            path.write_bytes(bytes(broken))
            tried += 1
            found += refused(releases)
        path.write_bytes(whole)
    releases.current()
    record("F28", "a bit of a release flipped", "each file, 10 places", {"flips": tried, "refused": found})
    assert found == tried > 200


def refused(releases: Releases) -> bool:
    try:
        releases.current()
    except MotetError:
        return True
    return False


def test_f29_files_that_are_cut_missing_extra_swapped_or_linked(workspace, tmp_path):
    releases = Releases(workspace)
    folder = releases.current()
    kept, found = shutil.copytree(folder, tmp_path / "kept"), {}
    files = sorted(path.relative_to(folder) for path in folder.rglob("*") if path.is_file())

    def tried(kind: str, damage) -> None:
        damage()
        found.setdefault(kind, []).append(refused(releases))
        shutil.rmtree(folder)
        shutil.copytree(kept, folder)

    for name in files:
        path = folder / name
        tried("cut in half", lambda path=path: os.truncate(path, path.stat().st_size // 2))
        tried("missing", path.unlink)
        tried("a link to the same bytes", lambda path=path, name=name: (path.unlink(), path.symlink_to(kept / name)))
    for one, other in itertools.pairwise(files):
        tried("swapped", lambda one=one, other=other: swap(folder / one, folder / other))
    for name in ("extra.json", "report/extra.parquet", "code.pkl"):
        tried("extra", (folder / name).touch)
    releases.current()
    figures = {kind: f"{sum(all_of)} of {len(all_of)} refused" for kind, all_of in found.items()}
    record("F29", "files of a release changed", "each file", figures)
    assert all(all(all_of) for all_of in found.values())


def swap(one: Path, other: Path) -> None:
    first, second = one.read_bytes(), other.read_bytes()
    one.write_bytes(second)
    other.write_bytes(first)


def test_f31_two_publish_at_once(workspace, draft, tmp_path):
    releases, report, each = Releases(workspace), _written(tmp_path / "report", _report()), 50

    def many() -> None:
        for _ in range(each):
            publish_once(workspace, draft, report, False)

    children = [start_child(many) for _ in range(2)]
    ended = [os.waitpid(pid, 0)[1] for pid in children]
    made = [one for one in releases.all() if "forced" not in one.manifest]
    figures = {"published": len(made) - 1, "of": 2 * each, "damaged": is_sound(releases)[0]}
    record("F31", "two publishers at once", f"two processes, {each} releases each", figures)
    assert ended == [0, 0]
    assert figures == {"published": 2 * each, "of": 2 * each, "damaged": 0}
    assert releases.current_id() == made[-1].id


@pytest.mark.skipif(os.geteuid() != 0, reason="mounts a small file system, which takes root")
def test_f32_the_disk_is_full(workspace, draft, tmp_path):
    report = _written(tmp_path / "report", _report())
    small = tmp_path / "small"
    small.mkdir()
    files = [path for path in Releases(workspace).current().rglob("*") if path.is_file()]
    room = int(4 * sum(-(-path.stat().st_size // 4096) for path in files) * 1.4)
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={room}k", "tmpfs", str(small)], check=False)
    if done.returncode:
        pytest.skip("nothing can be mounted here")
    try:
        shutil.copytree(workspace, small / "workspace", symlinks=True)
        releases = Releases(small / "workspace")
        before = releases.current_id()
        with pytest.raises((OSError, MotetError)) as said:
            releases.publish(draft, report, SETTINGS, {"recipe": "tiny"})
        assert releases.current_id() == before
        damaged, lost = is_sound(releases)
        left = len(list(releases.folder.glob("*.tmp")))
    finally:
        subprocess.run(["umount", str(small)], check=True)
    figures = {"old release serves": "yes", "damaged": damaged, "temporary folders left": left,
               "said": getattr(said.value, "strerror", str(said.value))}  # fmt: skip
    record("F32", "no room for a release", "a file system that holds one and a half", figures)
    assert (damaged, lost, left) == (0, 0, 0)


def test_f33_a_rollback_takes_a_moment_and_remembers(workspace, draft, tmp_path):
    releases, report = Releases(workspace), _written(tmp_path / "report", _report())
    first = releases.current_id()
    bad = releases.publish(draft, report, SETTINGS, {"recipe": "tiny"}).id
    began = time.monotonic()
    assert releases.rollback() == first
    seconds = time.monotonic() - began
    verify(releases.current())
    figures = {"seconds": round(seconds, 3), "refused id remembered": "yes" if bad in releases.refused() else "no"}
    record("F33", "rollback", "motet release rollback", figures)
    assert seconds < 2
    assert bad in releases.refused()


PARTS: dict[str, tuple[str, ...]] = {
    "the index": ("index.faiss", "index.json"),
    "the vectors": ("vectors.safetensors",),
    "the vectors and their index": ("vectors.safetensors", "index.faiss", "index.json"),
    "the network": ("model.safetensors", "model.json"),
    "weights of the network": ("model.safetensors",),
}


def test_f30_a_part_of_another_version(workspace, draft, tmp_path, encoder_folder):
    """Of a network of another width, or of another catalogue; the manifest lists each file as it is."""
    releases, report = Releases(workspace), _written(tmp_path / "report", _report())
    wider = write_draft(Tiny.of(encoder_folder, train={"epochs": 1}, model={"dim": 12}), tmp_path / "wider")
    before, kept = releases.current_id(), {}
    for what, names in PARTS.items():
        mixed = shutil.copytree(draft, tmp_path / what)
        for name in names:
            shutil.copyfile(wider / name, mixed / name)
        kept[what] = _is_refused(releases, mixed, report)
    shorter = shutil.copytree(draft, tmp_path / "shorter")
    items = read_parquet(shorter / "items.parquet")
    write_parquet(shorter / "items.parquet", items.slice(0, items.num_rows - 1))
    kept["a shorter list of items"] = _is_refused(releases, shorter, report)
    for name in ("index", "content"):
        fewer = shutil.copytree(draft, tmp_path / f"fewer in {name}")
        rows = np.random.default_rng(0).normal(size=(items.num_rows - 1, _width(fewer, name))).astype(np.float32)
        VectorIndex.build(rows, IndexSettings()).save(fewer / f"{name}.faiss")
        kept[f"{name}.faiss of fewer items"] = _is_refused(releases, fewer, report)
    figures = {"refused": f"{sum(kept.values())} of {len(kept)}"}
    record("F30", "a part of another version", ", ".join(kept), figures)
    assert [what for what, refused in kept.items() if not refused] == []
    assert releases.current_id() == before


def _width(draft: Path, name: str) -> int:
    """How wide the rows of an index are."""
    return int(load_file(draft / "vectors.safetensors")["items" if name == "index" else "content"].shape[1])


def _is_refused(releases: Releases, draft: Path, report: Path) -> bool:
    (draft / "manifest.json").unlink()
    write_manifest(draft, {"stage": "index"})
    try:
        releases.publish(draft, report, SETTINGS, {"recipe": "tiny"})
    except MotetError:
        return True
    return False
