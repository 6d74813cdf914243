"""Where stages compute, for clusters that are only told."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from motet.devices import ON_CPU, ON_GPU, Ask, Devices, Place, ahead, choose, of_encoder
from motet.errors import ReleaseError
from motet.recipe import Recipe, refusal
from motet.settings import EncoderSettings
from tests.builders import merged, recipe_dict

LAPTOP, CLUSTER = {"CPU": 2.0}, {"CPU": 32.0, "GPU": 4.0}


def _choose(resources: dict[str, float], **changes: Any) -> Devices:
    return choose(Recipe.model_validate(merged(recipe_dict("m"), changes)), resources)


def test_without_a_wish_everything_is_on_cpus_whatever_there_is() -> None:
    for resources in (LAPTOP, CLUSTER):
        devices = _choose(resources, train={"workers": 2, "cpus_per_worker": 0.5}, encoder={"actors": 3})
        assert (devices.encoder.place, devices.train.place) == (ON_CPU, ON_CPU)
        assert (devices.encoder.num_gpus, devices.encoder.first, devices.encoder.most) == (0, 1, 3)
        assert (devices.train.workers, devices.train.cpus, devices.train.backend) == (2, 0.5, "gloo")
        assert (devices.train.compiled, devices.index_gpus, devices.embedder_gpus) == (False, 0, 0)
        assert all(ask.lacking(resources) is None for asks in devices.asks.values() for ask in asks)


@pytest.mark.parametrize(
    ("gpus", "share", "actors", "first"),
    [(4, 1, 8, 4), (4, 0.5, 8, 8), (4, 0.5, 6, 6), (1, 0.25, 8, 4), (0, 1, 8, 1), (4, 2, 8, 2), (1, 0.1, 20, 10)],
)
def test_as_many_encoders_begin_as_have_a_gpu(gpus: float, share: float, actors: int, first: int) -> None:
    devices = _choose({"CPU": 32, "GPU": gpus}, encoder={"num_gpus": share, "actors": actors})
    assert (devices.encoder.first, devices.encoder.most) == (first, actors)
    assert devices.encoder.num_gpus == devices.embedder_gpus == share
    assert devices.encoder.place == ON_GPU


def test_on_gpus_batches_are_pinned_sent_ahead_and_multiplied_in_bfloat16() -> None:
    assert (ON_GPU.precision, ON_GPU.pinned, ON_GPU.ahead > 0) == ("bfloat16", True, True)
    assert (ON_CPU.precision, ON_CPU.pinned, ON_CPU.ahead) == ("float32", False, 0)


def test_training_on_gpus_speaks_nccl() -> None:
    devices = _choose(CLUSTER, train={"workers": 4, "use_gpu": True, "compile": True})
    assert (devices.train.place, devices.train.backend, devices.train.compiled) == (ON_GPU, "nccl", True)
    assert [ask.lacking(CLUSTER) for ask in devices.asks["train"]] == [None, None]


@pytest.mark.parametrize(
    ("changes", "stage", "problem"),
    [
        ({"train": {"workers": 2, "use_gpu": True}}, "train", "train.workers with train.use_gpu asks for 2 GPUs"),
        ({"train": {"workers": 0, "use_gpu": True}}, "train", "train.workers with train.use_gpu asks for 1 GPUs"),
        ({"train": {"workers": 8}}, "train", "train.workers x train.cpus_per_worker asks for 4 CPUs"),
        (
            {"train": {"workers": 8, "min_workers": 6}},
            "train",
            "train.min_workers x train.cpus_per_worker asks for 3 CPUs",
        ),
        ({"encoder": {"num_gpus": 0.5}}, "embed", "encoder.num_gpus asks for 0.5 GPUs"),
        ({"encoder": {"num_gpus": 0.5}}, "serve", "encoder.num_gpus asks for 0.5 GPUs"),
        ({"index": {"gpu": True}}, "index", "index.gpu asks for 1 GPUs"),
    ],
)
def test_what_a_laptop_lacks(changes: dict[str, Any], stage: str, problem: str) -> None:
    devices = _choose(LAPTOP, **changes)
    said = [found for ask in devices.asks[stage] if (found := ask.lacking(LAPTOP))]
    resource = "CPU" if "CPU" in problem else "GPU"
    assert said == [f"{problem}, this Ray has {LAPTOP.get(resource, 0):g}"]
    assert {ask.lacking({"CPU": 8, "GPU": 8}) for ask in devices.asks[stage]} == {None}


def test_an_ask_is_met_by_as_much() -> None:
    assert Ask("GPU", 1, "x").lacking({"GPU": 1}) is None
    assert Ask("GPU", 0, "x").lacking({}) is None


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"encoder": {"num_gpus": 1.5}}, "num_gpus = 1.5 is no share of one GPU and no whole number; use 1 or 2"),
        ({"index": {"gpu": True, "kind": "hnsw"}}, "gpu = true has no hnsw; use kind: ivf, or leave it out"),
    ],
)
def test_wishes_that_no_cluster_has(changes: dict[str, Any], problem: str) -> None:
    assert refusal(merged(recipe_dict("m"), changes)) == problem


def test_a_process_that_nobody_told_takes_the_gpu_that_it_sees_if_one_was_asked_for() -> None:
    wishes = [EncoderSettings(model="m", num_gpus=wanted) for wanted in (0, 0.5)]
    assert [of_encoder(one, visible) for one in wishes for visible in (0, 1)] == [ON_CPU, ON_CPU, ON_CPU, ON_GPU]


@pytest.mark.parametrize(
    ("precision", "places"),
    [
        ("auto", [ON_CPU, ON_GPU]),
        ("float32", [ON_CPU, replace(ON_GPU, precision="float32")]),
        ("bfloat16", [replace(ON_CPU, precision="bfloat16"), ON_GPU]),
    ],
)
def test_a_precision_that_was_asked_for_is_taken_everywhere(precision: Any, places: list[Place]) -> None:
    wishes = [{"precision": precision, "num_gpus": gpus} for gpus in (0, 1)]
    assert [_choose(CLUSTER, encoder=one).encoder.place for one in wishes] == places


@pytest.mark.parametrize("count", [0, 1, 2, 9])
def test_ahead_keeps_the_order_and_makes_as_many_early(count: int) -> None:
    made: list[int] = []

    def source() -> Iterator[int]:
        for number in range(5):
            made.append(number)
            yield number

    taken = []
    for number in ahead(source(), count):
        taken.append(number)
        assert len(made) == min(5, len(taken) + count)
    assert taken == [0, 1, 2, 3, 4]


def test_the_endpoint_on_this_machine_is_refused_what_it_lacks() -> None:
    from serve.run import require_devices

    recipe = Recipe.model_validate(merged(recipe_dict("m"), {"encoder": {"num_gpus": 1}}))
    with pytest.raises(ReleaseError, match=r"encoder\.num_gpus asks for 1 GPUs, this Ray has 0; serve on a machine"):
        require_devices(recipe, LAPTOP)
    require_devices(recipe, CLUSTER)
