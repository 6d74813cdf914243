"""Serve the current release on this machine.

python serve/run.py --workspace workspace             until Ctrl-C
python serve/run.py --workspace workspace --ask       ask once, print the answer and the curl, end
"""

import ipaddress
import json
import logging
import os
import shlex
import socket
import sys
import time
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

ROOT = Path(__file__).resolve().parent.parent
for folder in (str(ROOT / "platform"), str(ROOT)):
    if folder not in sys.path:
        sys.path.insert(0, folder)

import typer  # noqa: E402

from motet.devices import choose  # noqa: E402
from motet.errors import ReleaseError, said_in_a_line  # noqa: E402
from motet.recipe import Recipe  # noqa: E402
from motet.recommend import read_recipe  # noqa: E402
from motet.release.publish import Releases  # noqa: E402
from motet.workspace_option import HERE, WorkspaceOption  # noqa: E402

NAME = "motet"
"""Of the application."""
_QUESTION = {"user_id": "7", "k": 3}


def start(
    folder: Path, host: str | None = None, port: int | None = None, watched: bool = False, keys: str | None = None
) -> str:
    """Start Ray and the graph over a release on this machine; return the endpoint's address.

    Args:
        folder: the release.
        host: address to listen on; the recipe's if None.
        port: port to listen on; the recipe's if None.
        watched: it is the current release of its workspace, and is left for another when that changes.
        keys: none or required; the recipe's if None.
    """
    import ray
    from ray import serve

    from serve.app import build
    from serve.fast import ENVIRONMENT

    recipe = read_recipe(folder)
    host, port = host or recipe.serve.host, port or recipe.serve.port
    require_guarded(host, keys or recipe.serve.keys)
    require_free(host, port)
    if not ray.is_initialized():
        for name, value in {"RAY_USAGE_STATS_ENABLED": "0", **ENVIRONMENT}.items():
            os.environ.setdefault(name, value)
        paths = [str(ROOT), str(ROOT / "platform"), os.environ.get("PYTHONPATH", "")]
        os.environ["PYTHONPATH"] = os.pathsep.join(path for path in paths if path)
        ray.init(
            address="local",
            num_cpus=recipe.resources.num_cpus,
            object_store_memory=recipe.resources.object_store_mb << 20,
            include_dashboard=False,
            log_to_driver=False,
            logging_level=logging.ERROR,
        )
    require_devices(recipe, ray.cluster_resources())
    logging.getLogger("ray.serve").setLevel(logging.ERROR)
    serve.start(http_options={"host": host, "port": port})
    args = {"workspace": str(folder.parent.parent)} if watched else {"release": str(folder)}
    args |= {} if keys is None else {"keys": keys}
    serve.run(build(args), name=NAME, route_prefix="/")
    return f"http://{host}:{port}"


def end() -> None:
    """End the graph and Ray: requests under way get their answers, and records that wait are written."""
    import ray
    from ray import serve

    serve.delete(NAME)
    ray.shutdown()


def require_devices(recipe: Recipe, resources: Mapping[str, float]) -> None:
    """Raise ReleaseError if a replica asks for more GPUs than this machine's Ray has, which it would wait for."""
    for ask in choose(recipe, resources).asks["serve"]:
        if lacking := ask.lacking(resources):
            raise ReleaseError(f"{lacking}; serve on a machine with GPUs, or release a recipe with {ask.setting}: 0")


def require_guarded(host: str, keys: str) -> None:
    """Raise ReleaseError if others than this machine would be heard without a key."""
    if keys == "required" or _is_loopback(host):
        return
    raise ReleaseError(
        f"serve.host = {host} is seen by other machines, and serve.keys = {keys} lets anyone in; make a key (motet "
        "keys add NAME --scope recommend) and set serve.keys to required (--keys required), or listen on 127.0.0.1"
    )


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def require_free(host: str, port: int) -> None:
    """Raise ReleaseError if another program listens on the address."""
    with socket.socket() as one:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            one.bind((host, port))
        except OSError as error:
            raise ReleaseError(
                f"{host}:{port} cannot be listened on ({error.strerror}); choose another --port"
            ) from error


def ask(address: str, question: dict[str, Any]) -> dict[str, Any]:
    """POST a question to /v1/recommend and return the answer."""
    request = urllib.request.Request(
        f"{address}/v1/recommend", json.dumps(question).encode(), {"content-type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=30) as response:
        answer = json.load(response)
    assert isinstance(answer, dict)
    return answer


def show(answer: dict[str, Any]) -> None:
    """Print an answer for people, and as JSON."""
    for item in answer["items"]:
        scores = ", ".join(f"{name} {score:.3f}" for name, score in item["scores"].items())
        typer.echo(f"  {item['title']:<40} {scores}; {item['reason']['text']}")
    typer.echo(json.dumps(answer, indent=1))


def main(
    workspace: WorkspaceOption = HERE,
    host: Annotated[str | None, typer.Option(help="Address to listen on; the recipe's by default.")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on; the recipe's by default.")] = None,
    keys: Annotated[str | None, typer.Option(help="none or required; the recipe's serve.keys by default.")] = None,
    once: Annotated[bool, typer.Option("--ask", help="Ask once, print the answer and end.")] = False,
) -> None:
    """Serve the current release of a workspace."""
    began = time.monotonic()
    with said_in_a_line():
        folder = Releases(workspace).current()
        typer.echo(f"serve: starting {folder.name}", err=True)
        guarded = (keys or read_recipe(folder).serve.keys) == "required"
        if once and guarded:
            raise ReleaseError("--ask has no key, and serve.keys is required; leave --ask out, and ask with a key")
        address = start(folder, host, port, watched=True, keys=keys)
    typer.echo(f"serve: up at {address} after {time.monotonic() - began:.1f} s", err=True)
    question = json.dumps(_QUESTION)
    curl = f"curl -s {address}/v1/recommend -H 'content-type: application/json' -d {shlex.quote(question)}"
    curl += ' -H "authorization: Bearer $KEY"' * guarded
    try:
        if once:
            show(ask(address, _QUESTION))
            typer.echo(curl)
            typer.echo(f"serve: `make serve` keeps it up, with its page at {address}/", err=True)
            return
        typer.echo(curl)
        typer.echo(f"serve: its page is at {address}/", err=True)
        while True:
            time.sleep(3600)
    except KeyboardInterrupt:
        typer.echo("serve: ending", err=True)
    finally:
        end()


if __name__ == "__main__":
    typer.run(main)
