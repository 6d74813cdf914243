"""cluster.yaml passes the check that `ray up` makes, that check rejects wrong files, and our own rules hold.

Ray fills in what a file leaves out before it looks at it, and leaves some mistakes to the running cluster.
`test_ray_lets_pass` lists those; the tests after it are the rules that close the gaps for our file.
"""

import copy
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from ray.autoscaler._private.util import prepare_config, validate_config

from serve.fast import ENVIRONMENT

ROOT = Path(__file__).resolve().parents[2]
HEAD = "head"
WORKERS = ("cpu_worker", "gpu_worker")

Config = dict[str, Any]


@pytest.fixture(scope="module")
def original() -> Config:
    loaded: Config = yaml.safe_load((ROOT / "cluster.yaml").read_text(encoding="utf-8"))
    return loaded


@pytest.fixture
def config(original: Config) -> Config:
    return copy.deepcopy(original)


def check(config: Config) -> Config:
    """Do what `ray up` does before it talks to the cloud; return the file with Ray's defaults filled in."""
    prepared: Config = prepare_config(config)
    validate_config(prepared)
    return prepared


def types(config: Config) -> dict[str, Config]:
    found: dict[str, Config] = config["available_node_types"]
    return found


def start_command(config: Config, role: str) -> str:
    """The one command of a role that starts Ray."""
    (command,) = [line for line in config[f"{role}_start_ray_commands"] if "ray start" in line]
    return str(command)


def test_the_file_passes(config: Config) -> None:
    prepared = check(config)
    assert prepared["cluster_name"] == "motet"
    assert set(types(prepared)) == {HEAD, *WORKERS}


CPU = "available_node_types.cpu_worker"
GPU = "available_node_types.gpu_worker"
SCHEMA = jsonschema.ValidationError
DROP = object()

# mistake: (key, value, error, part of its message)
WRONG: dict[str, tuple[str, object, type[Exception], str]] = {
    # keys that do not exist
    "unknown top-level key": ("max_worker", 3, SCHEMA, "'max_worker' was unexpected"),
    "unknown node type key": (f"{CPU}.max_worker", 3, SCHEMA, "'max_worker' was unexpected"),
    "idle minutes in a type": (f"{CPU}.idle_timeout_minutes", 5, SCHEMA, "'idle_timeout_minutes' was"),
    "unknown docker key": ("docker.images", "x", SCHEMA, "'images' was unexpected"),
    "image, not worker_image": (f"{GPU}.docker.image", "x", SCHEMA, "'image' was unexpected"),
    "unknown auth key": ("auth.user", "ubuntu", SCHEMA, "'user' was unexpected"),
    "unknown security group key": ("provider.security_group.Name", "x", SCHEMA, "'Name' was unexpected"),
    # values of the wrong kind
    "max_workers as text": ("max_workers", "6", SCHEMA, "'6' is not of type 'integer'"),
    "negative max_workers": ("max_workers", -1, SCHEMA, "-1 is less than the minimum of 0"),
    "a type's max_workers as text": (f"{CPU}.max_workers", "4", SCHEMA, "'4' is not of type 'integer'"),
    "idle time as text": (f"{GPU}.idle_timeout_s", "300", SCHEMA, "'300' is not of type 'number'"),
    "half a CPU": (f"{CPU}.resources.CPU", 0.5, SCHEMA, "0.5 is not of type 'integer'"),
    "negative GPUs": (f"{GPU}.resources.GPU", -1, SCHEMA, "-1 is less than the minimum of 0"),
    "start command as text": ("head_start_ray_commands", "ray start", SCHEMA, "is not of type 'array'"),
    "start command as mapping": ("worker_start_ray_commands", [{}], SCHEMA, "is not of type 'string'"),
    "setup commands as text": ("setup_commands", "pip install .", TypeError, "can only concatenate"),
    "run options as text": ("docker.run_options", "--env A=1", SCHEMA, "is not of type 'array'"),
    # things left out
    "no head_node_type": ("head_node_type", DROP, ValueError, "`head_node_type` must be one of"),
    "no provider": ("provider", DROP, KeyError, "provider"),
    "no resources": (f"{CPU}.resources", DROP, SCHEMA, "'resources' is a required property"),
    "no node_config": (f"{CPU}.node_config", DROP, SCHEMA, "'node_config' is a required property"),
    "no container name": ("docker.container_name", DROP, AssertionError, "Must provide a container"),
    # values that do not fit the others
    "head_node_type is no type": ("head_node_type", "heads", ValueError, "`head_node_type` must be one of"),
    "unknown provider": ("provider.type", "awss", NotImplementedError, "Unsupported node provider: awss"),
    "all min_workers above max_workers": (f"{CPU}.min_workers", 7, ValueError, "the sum of `min_workers`"),
    "SSH proxy without command": ("auth.ssh_proxy_use_node_id", True, SCHEMA, "'ssh_proxy_command' is a"),
}

# mistake: (key, value)
LET_PASS: dict[str, tuple[str, object]] = {
    "a type's min_workers above its max_workers": (f"{GPU}.min_workers", 3),
    "negative min_workers": (f"{GPU}.min_workers", -1),
    "a type's max_workers above the cluster's": (f"{CPU}.max_workers", 99),
    "a resource that nothing asks for": (f"{GPU}.resources.GPUS", 1),
    "unknown EC2 parameter": (f"{CPU}.node_config.InstanceKind", "m6i.2xlarge"),
    "unknown provider key": ("provider.zone", "us-west-2a"),
    "image that does not exist": ("docker.image", "rayproject/ray:0"),
    "local folder that does not exist": ("file_mounts.data", "/does/not/exist"),
    "no cluster_name": ("cluster_name", DROP),
    "no start command": ("head_start_ray_commands", DROP),
}


def plant(config: Config, path: str, value: object) -> None:
    """Set or drop the key at a dotted path."""
    *parents, key = path.split(".")
    section = config
    for parent in parents:
        section = section[parent]
    if value is DROP:
        del section[key]
    else:
        section[key] = value


@pytest.mark.parametrize("mistake", WRONG)
def test_ray_rejects(mistake: str, config: Config) -> None:
    path, value, error, message = WRONG[mistake]
    plant(config, path, value)
    with pytest.raises(error, match=message):
        check(config)


@pytest.mark.parametrize("mistake", LET_PASS)
def test_ray_lets_pass(mistake: str, config: Config) -> None:
    """If Ray starts to reject one of these, move it to WRONG; our own rule for it may then go."""
    plant(config, *LET_PASS[mistake])
    check(config)


def test_ray_names_a_nameless_cluster_default(config: Config) -> None:
    """Why the name must be ours: `ray down` of another nameless file would end these nodes."""
    del config["cluster_name"]
    assert check(config)["cluster_name"] == "default"


def test_ray_would_start_an_open_head_by_itself(config: Config) -> None:
    """Why the start commands must be ours."""
    del config["head_start_ray_commands"]
    command = start_command(check(config), "head")
    assert "--dashboard-host=0.0.0.0" in command
    assert "RAY_AUTH_MODE" not in command


def test_every_type_has_room_for_its_own_minimum(config: Config) -> None:
    for name, node in types(config).items():
        assert 0 <= node["min_workers"] <= node["max_workers"] <= config["max_workers"], name


def test_head_takes_no_work(config: Config) -> None:
    head = types(config)[config["head_node_type"]]
    assert head["resources"] == {"CPU": 0}
    assert (head["min_workers"], head["max_workers"]) == (0, 0)
    assert "--num-cpus=0" in start_command(config, "head")


def test_cpu_and_gpu_workers(config: Config) -> None:
    cpu, gpu = (types(config)[name] for name in WORKERS)
    assert cpu["resources"]["CPU"] > 0
    assert "GPU" not in cpu["resources"]
    assert gpu["resources"]["GPU"] > 0
    assert gpu["min_workers"] == 0, "a GPU node must not cost money while nobody asks for it"
    assert gpu["max_workers"] > 0


def test_workers_end_when_idle(config: Config) -> None:
    assert config["idle_timeout_minutes"] > 0
    for name in WORKERS:
        assert 60 <= types(config)[name]["idle_timeout_s"] <= 3600, name
    assert config["provider"]["cache_stopped_nodes"] is False


def test_every_image_has_the_pinned_ray(config: Config) -> None:
    pins = (ROOT / "constraints.txt").read_text(encoding="utf-8").split()
    (version,) = [pin.removeprefix("ray==") for pin in pins if pin.startswith("ray==")]
    assert config["docker"]["image"] == f"rayproject/ray:{version}-py311"
    assert types(config)["gpu_worker"]["docker"]["worker_image"] == f"rayproject/ray:{version}-py311-gpu"


@pytest.mark.parametrize("role", ["head", "worker"])
def test_start_commands_turn_on_token_auth(role: str, config: Config) -> None:
    command = start_command(config, role)
    before = command[: command.index("ray start")]
    token = next(f"{remote}/auth_token" for remote in config["file_mounts"] if remote.endswith("token"))
    assert f"export RAY_AUTH_MODE=token RAY_AUTH_TOKEN_PATH={token};" in before
    assert before.rstrip().endswith(f"chmod 600 {token} &&"), "without a token Ray must not start"
    assert "--env RAY_AUTH_MODE=token" in config["docker"]["run_options"]


def test_no_token_in_the_file(config: Config) -> None:
    assert "RAY_AUTH_TOKEN=" not in yaml.safe_dump(config), "give the token's path, never the token"


def test_dashboard_is_reached_through_ssh_only(config: Config) -> None:
    command = start_command(config, "head")
    assert "--dashboard-host=127.0.0.1" in command
    assert "0.0.0.0" not in yaml.safe_dump(config)


def test_workers_join_the_port_of_the_head(config: Config) -> None:
    assert "--port=6379" in start_command(config, "head")
    assert "--address=$RAY_HEAD_IP:6379" in start_command(config, "worker")
    assert "--autoscaling-config=~/ray_bootstrap_config.yaml" in start_command(config, "head")


def test_share_is_mounted_at_one_path_on_machine_and_container(config: Config) -> None:
    assert "--volume /mnt/motet:/mnt/motet" in config["docker"]["run_options"]
    assert any("mount -t nfs4" in line and "/mnt/motet" in line for line in config["initialization_commands"])


def test_project_is_installed_with_its_pins(config: Config) -> None:
    assert config["file_mounts"]["~/motet"] == "."
    assert config["setup_commands"] == ["cd ~/motet && pip install -c constraints.txt -e ."]


@pytest.mark.parametrize("name", [HEAD, *WORKERS])
def test_ec2_knows_every_parameter(name: str, config: Config) -> None:
    """EC2's own description of the call, as boto3 ships it; no network."""
    session = pytest.importorskip("botocore.session", reason="boto3 comes with the dev extra")
    validate = pytest.importorskip("botocore.validate")
    shape = session.get_session().get_service_model("ec2").operation_model("RunInstances").input_shape
    request = {**types(config)[name]["node_config"], "MinCount": 1, "MaxCount": 1}
    report = validate.ParamValidator().validate(request, shape)
    assert not report.has_errors(), report.generate_report()


@pytest.mark.parametrize("role", ["head", "worker"])
def test_every_node_tells_serve_to_spend_less_on_a_hop(role: str, config: Config) -> None:
    before = start_command(config, role).partition("ray start")[0]
    assert all(f"{name}={value}" in before for name, value in ENVIRONMENT.items())
