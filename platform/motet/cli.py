"""`motet`: look at recipes, releases and recommendations from the command line.

motet recipe show|validate|schema      motet release list|verify|compare|publish|rollback|canary|promote
motet recommend                        motet doctor
motet events export                    motet items export
motet records export                   motet skew
motet whatif                           motet keys add|list|revoke
"""

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
import yaml
from rich.console import Console
from rich.table import Table

from motet.errors import DataError, MotetError, ReleaseError
from motet.recipe import Recipe
from motet.recipe_file import LoadedRecipe, describe_recipe, load_recipe
from motet.record_commands import record_commands, skew, whatif

main = typer.Typer(help="Recommenders that understand text, learn from the crowd and serve several tasks.")
recipe_commands = typer.Typer(help="Show, validate and document recipes.")
release_commands = typer.Typer(help="List, verify, publish and roll back releases.")
main.add_typer(recipe_commands, name="recipe")
main.add_typer(release_commands, name="release")
event_commands = typer.Typer(help="Take events out of the log.")
main.add_typer(event_commands, name="events")
key_commands = typer.Typer(help="Make and revoke keys to a workspace's endpoint.")
main.add_typer(key_commands, name="keys")
main.add_typer(record_commands, name="records")
main.command()(whatif)
main.command()(skew)
item_commands = typer.Typer(help="Take items out of the log of what was added and removed.")
main.add_typer(item_commands, name="items")

File = Annotated[str, typer.Argument(help="The recipe's YAML file.")]
Overrides = Annotated[list[str] | None, typer.Option("--set", help="Override a setting: a.b=c.")]
Workspace = Annotated[Path, typer.Option(help="The folder that the pipeline wrote.")]
_HERE = Path("workspace")


@contextmanager
def one_line_errors() -> Iterator[None]:
    """Print a user's mistake as one line per problem and exit with 2."""
    try:
        yield
    except MotetError as error:
        for line in str(error).splitlines():
            typer.echo(f"{type(error).__name__}: {line}", err=True)
        sys.exit(2)


@recipe_commands.command()
def show(recipe: File, overrides: Overrides = None) -> None:
    """Print the resolved recipe and where each value that is not a default came from."""
    with one_line_errors():
        loaded = load_recipe(recipe, overrides or [])
        for setting, value, origin in describe_recipe(loaded):
            said = "" if origin == "default" else f"    # {origin}"
            typer.echo(f"{setting} = {json.dumps(value)}{said}")


@recipe_commands.command()
def validate(recipe: File, overrides: Overrides = None) -> None:
    """Check the recipe, the files and columns it names, and the model's folder."""
    with one_line_errors():
        loaded = _checked(recipe, overrides)
        tasks = ", ".join(f"{task.name} ({task.kind})" for task in loaded.recipe.tasks)
        typer.echo(f"{recipe}: valid; tasks: {tasks}")


def _checked(recipe: str, overrides: list[str] | None) -> LoadedRecipe:
    from motet.inputs import check_inputs

    loaded = load_recipe(recipe, overrides or [])
    check_inputs(loaded)
    return loaded


@recipe_commands.command()
def schema(as_json: Annotated[bool, typer.Option("--json", help="Print JSON Schema.")] = False) -> None:
    """List every setting with its type, default and meaning."""
    document = Recipe.model_json_schema()
    if as_json:
        typer.echo(json.dumps(document, indent=1))
        return
    _print_section(document, document, "")


def _print_section(document: dict[str, Any], section: dict[str, Any], prefix: str) -> None:
    for name, field in section.get("properties", {}).items():
        inner = _reference(document, field)
        if inner is not None:
            typer.echo(f"{prefix}{name}:    # {_first(field.get('description') or inner.get('description', ''))}")
            _print_section(document, inner, prefix + "  ")
        else:
            default = json.dumps(field["default"]) if "default" in field else "(required)"
            typer.echo(f"{prefix}{name}: {default}    # {_type(field)}; {_first(field.get('description', ''))}")


def _reference(document: dict[str, Any], field: dict[str, Any]) -> dict[str, Any] | None:
    candidates = [field, *field.get("anyOf", []), *field.get("allOf", [])]
    candidates += [field.get("items", {}), field.get("additionalProperties", {}) or {}]
    for candidate in candidates:
        if isinstance(candidate, dict) and "$ref" in candidate:
            found: dict[str, Any] = document["$defs"][candidate["$ref"].rpartition("/")[2]]
            return found
    return None


def _type(field: dict[str, Any]) -> str:
    if "enum" in field:
        return " | ".join(map(str, field["enum"]))
    options = field.get("anyOf") or [field]
    return " | ".join(str(option.get("const") or option.get("type", "any")) for option in options)


def _first(text: str) -> str:
    return " ".join(text.split())


@release_commands.command("list")
def list_releases(workspace: Workspace = _HERE) -> None:
    """List the releases of a workspace, oldest first."""
    from motet.release.bundle import read_report
    from motet.release.publish import Releases

    with one_line_errors():
        table = Table("", "release", "created", "NDCG", "MB")
        for one in Releases(workspace).all():
            size = sum(entry["size"] for entry in one.manifest["files"].values()) / 1e6
            try:
                ndcg = f"{read_report(one.folder)['ranking']['systems']['motet']['ndcg']['mean']:.4f}"
            except DataError:
                ndcg = "damaged"
            table.add_row("*" if one.current else "", one.id, one.manifest["created"], ndcg, f"{size:.1f}")
        Console(width=max(100, Console().width)).print(table)


@release_commands.command()
def verify(
    name: Annotated[str | None, typer.Argument(help="The release; the current one by default.")] = None,
    workspace: Workspace = _HERE,
    replay: Annotated[bool, typer.Option(help="Also replay the golden requests.")] = False,
) -> None:
    """Check every byte of a release against its manifest."""
    from motet.release.publish import Releases, replay_in_child
    from motet.storage import read_manifest

    with one_line_errors():
        releases = Releases(workspace)
        folder = releases.verified(name or releases.current_id())
        manifest = read_manifest(folder)
        if replay:
            replay_in_child(folder)
        typer.echo(f"{folder.name}: {len(manifest['files'])} files as published" + ("; answers replayed" * replay))


@release_commands.command()
def compare(
    first: Annotated[str, typer.Argument(help="A release.")],
    second: Annotated[str | None, typer.Argument(help="Another one; the current one by default.")] = None,
    workspace: Workspace = _HERE,
) -> None:
    """Say which of two releases did better for the same test users, or that the difference is within noise."""
    from motet.evaluation.comparison import compare as differences_of
    from motet.evaluation.comparison import conclusion
    from motet.evaluation.table import difference_table
    from motet.release.publish import Releases

    with one_line_errors():
        releases = Releases(workspace)
        one, other = (releases.verified(name or releases.current_id()) for name in (first, second))
        found = differences_of(one / "report", other / "report")
        Console(width=max(100, Console().width)).print(difference_table(found, one.name, other.name))
        typer.echo(conclusion(found, one.name, other.name))


@release_commands.command()
def publish(
    draft: Annotated[Path, typer.Argument(help="A folder of drafts/, from the index stage.")],
    report: Annotated[Path, typer.Argument(help="A folder of reports/, from the evaluate stage.")],
    workspace: Workspace = _HERE,
) -> None:
    """Publish a draft with its report through the gate."""
    from motet.recommend import read_recipe
    from motet.release.publish import Releases
    from motet.storage import read_manifest

    with one_line_errors():
        recipe = read_recipe(draft)
        about = {"recipe": recipe.name, "draft": read_manifest(draft)["id"], "report": read_manifest(report)["id"]}
        typer.echo(Releases(workspace).publish(draft, report, recipe.release, about).id)


@release_commands.command()
def rollback(
    name: Annotated[str | None, typer.Argument(help="The release; the one before the current by default.")] = None,
    workspace: Workspace = _HERE,
) -> None:
    """Point back to an older release."""
    from motet.release.publish import Releases

    with one_line_errors():
        typer.echo(Releases(workspace).rollback(name))


@release_commands.command()
def canary(
    name: Annotated[str | None, typer.Argument(help="The release to try out.")] = None,
    stop: Annotated[bool, typer.Option("--stop", help="End the trial.")] = False,
    workspace: Workspace = _HERE,
) -> None:
    """Try a release out on some users of a running endpoint, or end the trial."""
    from motet.release.publish import Releases

    with one_line_errors():
        releases = Releases(workspace)
        if stop == (name is not None):
            raise ReleaseError("say either which release to try out, or --stop; motet release list shows the releases")
        typer.echo(releases.drop_candidate() if name is None else releases.try_out(name))


@release_commands.command()
def promote(workspace: Workspace = _HERE) -> None:
    """Make the release that is tried out the current one."""
    from motet.release.publish import Releases

    with one_line_errors():
        typer.echo(Releases(workspace).promote())


@event_commands.callback()
def _events() -> None:
    """Take events out of the log."""


@event_commands.command()
def export(
    workspace: Annotated[Path, typer.Argument(help="The folder that the pipeline wrote.")],
    target: Annotated[Path, typer.Argument(help="The parquet file to write.")],
) -> None:
    """Write all events of a workspace's log to a parquet file that can stand among the interactions of a recipe."""
    from motet.event_settings import EventSettings
    from motet.events.export import export as write
    from motet.events.store import open_store
    from motet.recommend import read_recipe
    from motet.release.publish import CURRENT, Releases

    with one_line_errors():
        releases = Releases(workspace)
        recipe = read_recipe(releases.current()) if (releases.folder / CURRENT).is_file() else None
        settings = recipe.serve.events if recipe else EventSettings()
        store = open_store(settings, workspace / "events", recipe.name if recipe else "")
        if store is None:
            raise DataError(f"{workspace}: its release records no events (serve.events.store is none)")
        typer.echo(f"{write(store, target, recipe):,} events in {target}")


@key_commands.command("add")
def add_key(name: Annotated[str, typer.Argument(help="What the key is called.")], workspace: Workspace = _HERE) -> None:
    """Make a key with the scope admin and print it; it is shown this once."""
    from motet.release.keys import Keys

    with one_line_errors():
        typer.echo(Keys(workspace).add(name, ("admin",)))


@key_commands.command("list")
def list_keys(workspace: Workspace = _HERE) -> None:
    """List the keys' names and scopes."""
    from motet.release.keys import Keys

    with one_line_errors():
        for name, key in sorted(Keys(workspace).all().items()):
            typer.echo(f"{name}  {', '.join(key.scopes)}")


@key_commands.command("revoke")
def revoke_key(name: Annotated[str, typer.Argument(help="The key.")], workspace: Workspace = _HERE) -> None:
    """Take a key away; a running endpoint refuses it from then on."""
    from motet.release.keys import Keys

    with one_line_errors():
        Keys(workspace).revoke(name)


@item_commands.callback()
def _items() -> None:
    """Take items out of the log of what was added and removed."""


@item_commands.command("export")
def export_log(
    workspace: Annotated[Path, typer.Argument(help="The folder that the pipeline wrote; its current release counts.")],
    target: Annotated[Path, typer.Argument(help="The parquet file to write.")],
) -> None:
    """Write the latest of each item of a workspace's log to a parquet file that can stand among a recipe's items."""
    from motet.itemlog.export import export_items
    from motet.itemlog.place import open_items
    from motet.recommend import read_recipe
    from motet.release.publish import Releases

    with one_line_errors():
        recipe = read_recipe(Releases(workspace).current())
        store = open_items(recipe.serve.events, workspace, recipe.name)
        if store is None:
            raise DataError(f"{workspace}: its release takes no items (serve.events.store is none)")
        items, removed = export_items(store, target, recipe)
        typer.echo(f"{items:,} items in {target}; {removed:,} removed ones are left out")


@main.command()
def recommend(
    user: Annotated[str | None, typer.Option(help="A user's id.")] = None,
    history: Annotated[list[str] | None, typer.Option(help="An item of the history; repeat, oldest first.")] = None,
    text: Annotated[str | None, typer.Option(help="What is wanted, in words.")] = None,
    surface: Annotated[str | None, typer.Option(help="A surface of the recipe.")] = None,
    k: Annotated[int, typer.Option(min=1, max=500, help="How many items.")] = 10,
    workspace: Workspace = _HERE,
) -> None:
    """Ask the current release for recommendations, without a server."""
    from motet.recommend import Query, Recommender
    from motet.release.publish import Releases

    with one_line_errors():
        query = Query(user=user, history=tuple(history) if history else None, text=text, surface=surface, k=k)
        state, items = Recommender(Releases(workspace).current()).recommend(query)
        shown = [{**vars(item), "reason": vars(item.reason)} for item in items]
        typer.echo(yaml.safe_dump({"user": state.level, "items": shown}, sort_keys=False, allow_unicode=True).rstrip())


@main.command()
def doctor(
    run: Annotated[str, typer.Argument(help="A recipe's YAML file, a run's folder, or the beginning of a run's id.")],
    overrides: Overrides = None,
    workspace: Workspace = _HERE,
    seeds: Annotated[int, typer.Option(min=1, max=20, help="How many seeds each network is trained with.")] = 1,
) -> None:
    """Say for each task whether training together helps it, why, and what to change."""
    import subprocess

    with one_line_errors():
        options = [part for one in overrides or [] for part in ("--set", one)]
        options += ["--workspace", str(workspace), "--seeds", str(seeds)]
        sys.exit(subprocess.run([sys.executable, str(_job("doctor")), run, *options], check=False).returncode)


def _job(name: str) -> Path:
    """Return the file of a job; jobs stand beside `platform` in a checkout."""
    path = Path(__file__).resolve().parents[2] / "jobs" / f"{name}.py"
    if not path.is_file():
        raise DataError(f"{path} does not exist; run this from an editable install of the repository (make install)")
    return path


if __name__ == "__main__":
    main()
