"""Several Ray nodes on this machine, in a process of their own: `python tests/nodes.py 2 1` is that process.

It prints the address, then a line for each actor with the node that it came to life on. A node that it reads the id of
it takes down as a power cut would. It ends when nobody writes to it any more.

With MOTET_MIRRORS set each node has a folder of its own under that path, which no other process sees.
"""

import contextlib
import ctypes
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


class Nodes:
    """A cluster.

    Args:
        cpus: of each node, the head first; what Ray thinks that they have.
        environment: of its processes; with a RAY_TMPDIR of its own.
    """

    def __init__(self, cpus: Sequence[int], environment: dict[str, str]) -> None:
        paths = os.pathsep.join([str(ROOT), str(ROOT / "platform"), environment.get("PYTHONPATH", "")])
        self.environment = {**environment, "PYTHONPATH": paths}
        self.process = subprocess.Popen(
            [sys.executable, __file__, *map(str, cpus)], env=self.environment, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )  # fmt: skip
        self._seen: list[tuple[str, str]] = []
        assert self.process.stdout is not None
        first = json.loads(self.process.stdout.readline())
        self.environment["RAY_ADDRESS"], self.others = first["address"], frozenset(first["others"])
        self.listening = threading.Thread(target=self._listen, daemon=True)
        self.listening.start()

    def _listen(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if line.startswith("["):  # and not what Ray has to say of a lost node
                self._seen.append(tuple(json.loads(line)))

    def homes(self, kind: str) -> set[str]:
        """The nodes on which actors came to life whose class has this in its name."""
        return {node for name, node in list(self._seen) if kind in name}

    def kill(self, node: str) -> None:
        """Take down one of `others`, which are all but the head."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{node}\n")
        self.process.stdin.flush()


def pipeline_on_three(file: Path, environment: dict[str, str], changes: Sequence[str]) -> dict[str, set[str]]:
    """Run a recipe's pipeline on three nodes, with two encoders and two workers; return the homes of each kind."""
    words = ["encoder.actors=2", "encoder.num_cpus=1", "train.workers=2", "train.cpus_per_worker=1", *changes]
    options = [word for change in words for word in ("--set", change)]
    with several_nodes([1, 1, 1], environment) as nodes:
        command = [sys.executable, "jobs/pipeline.py", str(file), *options]
        done = subprocess.run(command, cwd=ROOT, env=nodes.environment, capture_output=True, text=True, timeout=360)
        homes = {kind: nodes.homes(kind) for kind in ("EncoderActor", "RayTrainWorker", "")}
    assert done.returncode == 0, done.stderr[-3000:]
    return homes


@contextmanager
def several_nodes(cpus: Sequence[int], environment: dict[str, str]) -> Iterator[Nodes]:
    """A cluster, for as long as this lasts."""
    nodes = Nodes(cpus, environment)
    try:
        yield nodes
    finally:
        assert nodes.process.stdin is not None
        nodes.process.stdin.close()
        nodes.process.wait(60)
        nodes.listening.join(10)
        assert nodes.process.stdout is not None
        nodes.process.stdout.close()


_NEW_MOUNTS = 0x00020000


def may_mount() -> bool:
    """Whether nodes on this machine can have folders of their own."""
    return os.geteuid() == 0 and subprocess.run(["unshare", "-m", "true"], check=False).returncode == 0


def _own_folder() -> None:
    """Have the processes that this one starts from now on see an empty folder where the mirrors are."""
    if folder := os.environ.get("MOTET_MIRRORS"):
        if ctypes.CDLL(None, use_errno=True).unshare(_NEW_MOUNTS) != 0:
            raise OSError(ctypes.get_errno(), "unshare")
        subprocess.run(["mount", "--make-rprivate", "/"], check=True)
        subprocess.run(["mount", "-t", "tmpfs", "-o", "mode=0700", "node", folder], check=True)


def _actors() -> Iterator[tuple[str, str]]:
    import ray

    for one in ray._private.state.actors().values():
        if one["State"] == "ALIVE":
            yield one["ActorClassName"], one["Address"]["NodeID"]


def _main(cpus: Sequence[int]) -> None:
    import ray
    from ray.cluster_utils import Cluster

    sizes = [{"num_cpus": own, "object_store_memory": 150 << 20} for own in cpus]
    _own_folder()
    cluster = Cluster(initialize_head=True, head_node_args=sizes[0])
    more = {}
    for size in sizes[1:]:
        _own_folder()
        node = cluster.add_node(**size)
        more[node.node_id] = node
    ray.init(address=cluster.address, log_to_driver=False)
    print(json.dumps({"address": cluster.address, "others": list(more)}), flush=True)
    over = threading.Event()

    def watch() -> None:
        seen: set[tuple[str, str]] = set()
        while not over.is_set():
            for one in set(_actors()) - seen:
                seen.add(one)
                print(json.dumps(one), flush=True)
            time.sleep(0.2)

    watching = threading.Thread(target=watch)
    watching.start()
    for line in sys.stdin:
        cluster.remove_node(more.pop(line.strip()), allow_graceful=False)
    over.set()
    watching.join()
    ray.shutdown()
    with contextlib.suppress(Exception):  # a node that was taken down is not there to be ended
        cluster.shutdown()


if __name__ == "__main__":
    _main([int(one) for one in sys.argv[1:]])
