"""Where each stage computes: the ONE place that decides about GPUs, from the recipe and from what Ray reports.

Plain data in, plain data out; stages, workers and replicas do as it says. What is asked for and is not there stands in
`Ask`, and whoever runs the stage refuses it.
"""

from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import islice
from typing import Literal, TypeVar

from motet.recipe import Recipe
from motet.settings import EncoderSettings
from motet.train_settings import TrainSettings

T = TypeVar("T")


@dataclass(frozen=True)
class Place:
    """How one process computes.

    Attributes:
        gpu: on a GPU, or on CPUs.
        precision: what matrix products are taken in.
        pinned: batches go to the GPU through page-locked memory, without waiting for the copy.
        ahead: batches that are made and sent before they are needed.
    """

    gpu: bool
    precision: Literal["float32", "bfloat16"]
    pinned: bool
    ahead: int


ON_CPU = Place(gpu=False, precision="float32", pinned=False, ahead=0)
ON_GPU = Place(gpu=True, precision="bfloat16", pinned=True, ahead=2)


@dataclass(frozen=True)
class Ask:
    """So much of a resource, because of a setting."""

    resource: Literal["CPU", "GPU"]
    amount: float
    setting: str

    def lacking(self, resources: Mapping[str, float]) -> str | None:
        """Return what is missing, or None."""
        have = resources.get(self.resource, 0.0)
        if self.amount <= have:
            return None
        return f"{self.setting} asks for {self.amount:g} {self.resource}s, this Ray has {have:g}"


@dataclass(frozen=True)
class EncoderDevices:
    """The pool of encoder actors.

    Attributes:
        place: of each actor.
        num_cpus: of each actor.
        num_gpus: of each actor; below 1 several share one.
        first: actors at the beginning.
        most: actors at the most.
    """

    place: Place
    num_cpus: float
    num_gpus: float
    first: int
    most: int


@dataclass(frozen=True)
class TrainDevices:
    """The training workers.

    Attributes:
        place: of each worker.
        workers: how many; 0 is the job's own process.
        least: with how many it goes on when nodes are lost.
        cpus: of each worker.
        backend: of torch.distributed.
        compiled: the user tower goes through torch.compile.
    """

    place: Place
    workers: int
    least: int
    cpus: float
    backend: Literal["nccl", "gloo"]
    compiled: bool


@dataclass(frozen=True)
class Devices:
    """What every stage computes on, and what it needs for that.

    Attributes:
        encoder: of the embed stage.
        train: of the train stage.
        index_gpus: GPUs of the process that builds the FAISS index, 0 or 1.
        embedder_gpus: of a replica of the online Embedder, which holds the language model.
        asks: by stage: embed, train, index, serve.
    """

    encoder: EncoderDevices
    train: TrainDevices
    index_gpus: int
    embedder_gpus: float
    asks: Mapping[str, tuple[Ask, ...]]


def choose(recipe: Recipe, resources: Mapping[str, float]) -> Devices:
    """Decide for a recipe on a cluster.

    Args:
        recipe: says what is wanted.
        resources: what Ray reports, such as {"CPU": 8.0, "GPU": 1.0}.
    """
    encoder, train = recipe.encoder, recipe.train
    least, setting = train.least_workers, "train.workers" if train.min_workers is None else "train.min_workers"
    return Devices(
        encoder=_encoder(encoder, resources),
        train=_train(train),
        index_gpus=int(recipe.index.gpu),
        embedder_gpus=encoder.num_gpus,
        asks={
            "embed": (
                Ask("CPU", encoder.num_cpus, "encoder.num_cpus"),
                Ask("GPU", encoder.num_gpus, "encoder.num_gpus"),
            ),
            "train": (
                Ask("CPU", least * train.cpus_per_worker, f"{setting} x train.cpus_per_worker"),
                Ask("GPU", max(1, least) * train.use_gpu, f"{setting} with train.use_gpu"),
            ),
            "index": (Ask("GPU", float(recipe.index.gpu), "index.gpu"),),
            "serve": (Ask("GPU", encoder.num_gpus, "encoder.num_gpus"),),
        },
    )


def _encoder(settings: EncoderSettings, resources: Mapping[str, float]) -> EncoderDevices:
    """With GPUs, as many actors begin as have one now; an autoscaler may bring room for the rest."""
    first = 1
    if settings.num_gpus:
        first = max(1, min(settings.actors, int(resources.get("GPU", 0.0) / settings.num_gpus + 1e-9)))
    place = of_encoder(settings, 1)
    return EncoderDevices(place, settings.num_cpus, settings.num_gpus, first, settings.actors)


def _train(settings: TrainSettings) -> TrainDevices:
    place, backend = (ON_GPU, "nccl") if settings.use_gpu else (ON_CPU, "gloo")
    workers, least = settings.workers, settings.least_workers
    return TrainDevices(place, workers, least, settings.cpus_per_worker, backend, settings.compile)  # type: ignore[arg-type]


def of_encoder(settings: EncoderSettings, visible: int) -> Place:
    """Return where a process runs the language model: on the GPU that it was given, if the recipe asks for one.

    Args:
        settings: of the encoder.
        visible: GPUs that torch sees; Ray shows a process its own only.
    """
    place = ON_GPU if settings.num_gpus and visible else ON_CPU
    return place if settings.precision == "auto" else replace(place, precision=settings.precision)


def ahead(items: Iterable[T], count: int) -> Iterator[T]:
    """Yield the items in order, `count` of them made before they are asked for."""
    source = iter(items)
    made = deque(islice(source, count))
    for item in source:
        made.append(item)
        yield made.popleft()
    yield from made
