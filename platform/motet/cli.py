"""`motet`: look at recipes, releases and recommendations from the command line.

motet recipe show|validate|schema      motet release list|verify|compare|publish|rollback|canary|promote
motet recommend                        motet doctor
motet events export                    motet items export
motet records export                   motet skew
motet whatif                           motet keys add|list|revoke
motet forget
"""

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
import yaml

from motet.errors import DataError, said_in_a_line
from motet.forget_commands import forget
from motet.log_commands import event_commands, item_commands
from motet.recipe import Recipe
from motet.recipe_file import LoadedRecipe, describe_recipe, load_recipe
from motet.record_commands import record_commands, skew, whatif
from motet.release_commands import key_commands, release_commands
from motet.workspace_option import HERE, WorkspaceOption

main = typer.Typer(help="Recommenders that understand text, learn from the crowd and serve several tasks.")
recipe_commands = typer.Typer(help="Show, validate and document recipes.")
main.add_typer(recipe_commands, name="recipe")
main.add_typer(release_commands, name="release")
main.add_typer(key_commands, name="keys")
main.add_typer(event_commands, name="events")
main.add_typer(item_commands, name="items")
main.add_typer(record_commands, name="records")
main.command()(whatif)
main.command()(skew)
main.command()(forget)

File = Annotated[str, typer.Argument(help="The recipe's YAML file.")]
Overrides = Annotated[list[str] | None, typer.Option("--set", help="Override a setting: a.b=c.")]


@recipe_commands.command()
def show(recipe: File, overrides: Overrides = None) -> None:
    """Print the resolved recipe and where each value that is not a default came from."""
    with said_in_a_line():
        loaded = load_recipe(recipe, overrides or [])
        for setting, value, origin in describe_recipe(loaded):
            said = "" if origin == "default" else f"    # {origin}"
            typer.echo(f"{setting} = {json.dumps(value)}{said}")


@recipe_commands.command()
def validate(recipe: File, overrides: Overrides = None) -> None:
    """Check the recipe, the files and columns it names, and the model's folder."""
    with said_in_a_line():
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


@main.command()
def recommend(
    user: Annotated[str | None, typer.Option(help="A user's id.")] = None,
    history: Annotated[list[str] | None, typer.Option(help="An item of the history; repeat, oldest first.")] = None,
    text: Annotated[str | None, typer.Option(help="What is wanted, in words.")] = None,
    surface: Annotated[str | None, typer.Option(help="A surface of the recipe.")] = None,
    k: Annotated[int, typer.Option(min=1, max=500, help="How many items.")] = 10,
    workspace: WorkspaceOption = HERE,
) -> None:
    """Ask the current release for recommendations, without a server."""
    from motet.privacy.watch import Watch
    from motet.recommend import Query, Recommender, read_recipe
    from motet.release.publish import Releases

    with said_in_a_line():
        release = Releases(workspace).current()
        watch = Watch(workspace, read_recipe(release).privacy.pseudonymise)
        named = watch.now.stored(user) if user is not None else None
        query = Query(user=named, history=tuple(history) if history else None, text=text, surface=surface, k=k)
        recommender = Recommender(release)
        recommender.embedder.watch(watch)
        state, items = recommender.recommend(query)
        shown = [{**vars(item), "reason": vars(item.reason)} for item in items]
        typer.echo(yaml.safe_dump({"user": state.level, "items": shown}, sort_keys=False, allow_unicode=True).rstrip())


@main.command()
def doctor(
    run: Annotated[str, typer.Argument(help="A recipe's YAML file, a run's folder, or the beginning of a run's id.")],
    overrides: Overrides = None,
    workspace: WorkspaceOption = HERE,
    seeds: Annotated[int, typer.Option(min=1, max=20, help="How many seeds each network is trained with.")] = 1,
) -> None:
    """Say for each task whether training together helps it, why, and what to change."""
    import subprocess

    with said_in_a_line():
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
