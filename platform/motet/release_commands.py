"""`motet release` and `motet keys`: the releases of a workspace, and the keys to its endpoint."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from motet.errors import DataError, ReleaseError, said_in_a_line
from motet.mirror import at_hand
from motet.workspace_option import HERE, WorkspaceOption

release_commands = typer.Typer(help="List, verify, publish, try out and roll back releases.")
key_commands = typer.Typer(help="Make and revoke keys to a workspace's endpoint.")


@release_commands.command("list")
def list_releases(workspace: WorkspaceOption = HERE) -> None:
    """List the releases of a workspace, oldest first."""
    from motet.release.bundle import read_report
    from motet.release.publish import Releases

    with said_in_a_line():
        table = Table("", "release", "created", "NDCG", "MB", "")
        refused = Releases(workspace).refused()
        for one in Releases(workspace).all():
            size = sum(entry["size"] for entry in one.manifest["files"].values()) / 1e6
            try:
                ndcg = f"{read_report(one.folder)['ranking']['systems']['motet']['ndcg']['mean']:.4f}"
            except DataError:
                ndcg = "damaged"
            notes = ["forced"] * ("forced" in one.manifest) + [f"refused: {refused.get(one.id)}"] * (one.id in refused)
            row = ("*" if one.current else "", one.id, one.manifest["created"], ndcg, f"{size:.1f}", "; ".join(notes))
            table.add_row(*row)
        Console(width=max(100, Console().width)).print(table)


@release_commands.command()
def verify(
    name: Annotated[str | None, typer.Argument(help="The release; the current one by default.")] = None,
    workspace: WorkspaceOption = HERE,
    replay: Annotated[bool, typer.Option(help="Also replay the golden requests.")] = False,
) -> None:
    """Check every byte of a release against its manifest."""
    from motet.release.publish import Releases, replay_in_child
    from motet.storage import read_manifest

    with said_in_a_line():
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
    workspace: WorkspaceOption = HERE,
) -> None:
    """Say which of two releases did better for the same test users, or that the difference is within noise."""
    from motet.evaluation.comparison import compare as differences_of
    from motet.evaluation.comparison import conclusion
    from motet.evaluation.table import difference_table
    from motet.release.publish import Releases

    with said_in_a_line():
        releases = Releases(workspace)
        one, other = (releases.verified(name or releases.current_id()) for name in (first, second))
        found = differences_of(one / "report", other / "report")
        Console(width=max(100, Console().width)).print(difference_table(found, one.name, other.name))
        typer.echo(conclusion(found, one.name, other.name))


@release_commands.command()
def publish(
    draft: Annotated[Path, typer.Argument(help="A folder of drafts/, from the index stage; drafts/KEY will do.")],
    report: Annotated[Path, typer.Argument(help="A folder of reports/, from the evaluate stage; reports/KEY will do.")],
    workspace: WorkspaceOption = HERE,
    force: Annotated[bool, typer.Option("--force", help="Whatever the gate says; the manifest tells.")] = False,
) -> None:
    """Publish a draft with its report through the gate."""
    from motet.recommend import read_recipe
    from motet.release.publish import Releases
    from motet.storage import read_manifest

    with said_in_a_line():
        draft, report = _result(workspace, draft), _result(workspace, report)
        recipe = read_recipe(draft)
        about = {"recipe": recipe.name, "draft": read_manifest(draft)["id"], "report": read_manifest(report)["id"]}
        published = Releases(workspace).publish(draft, report, recipe.release, about, force)
        for against in published.manifest.get("forced", ()):
            typer.echo(f"forced: {against}", err=True)
        typer.echo(published.id)


def _result(workspace: Path, folder: Path) -> Path:
    """Return the folder of a result, which may be given by its path in the workspace."""
    return folder if folder.exists() else at_hand(workspace / folder)


@release_commands.command()
def rollback(
    name: Annotated[str | None, typer.Argument(help="The release; the one before the current by default.")] = None,
    workspace: WorkspaceOption = HERE,
) -> None:
    """Point back to an older release."""
    from motet.release.publish import Releases

    with said_in_a_line():
        typer.echo(Releases(workspace).rollback(name))


@release_commands.command()
def canary(
    name: Annotated[str | None, typer.Argument(help="The release to try out.")] = None,
    stop: Annotated[bool, typer.Option("--stop", help="End the trial.")] = False,
    again: Annotated[bool, typer.Option("--again", help="Even if it was refused.")] = False,
    workspace: WorkspaceOption = HERE,
) -> None:
    """Try a release out on some users of a running endpoint, or end the trial."""
    from motet.release.publish import Releases

    with said_in_a_line():
        releases = Releases(workspace)
        if stop == (name is not None):
            raise ReleaseError("say either which release to try out, or --stop; motet release list shows the releases")
        typer.echo(releases.drop_candidate() if name is None else releases.try_out(name, again))


@release_commands.command()
def promote(workspace: WorkspaceOption = HERE) -> None:
    """Make the release that is tried out the current one."""
    from motet.release.publish import Releases

    with said_in_a_line():
        typer.echo(Releases(workspace).promote())


@key_commands.command("add")
def add_key(
    name: Annotated[str, typer.Argument(help="What the key is called.")],
    scope: Annotated[
        list[str] | None, typer.Option(help="recommend, feedback or admin; repeat for several. admin by default.")
    ] = None,
    users: Annotated[str, typer.Option(help="It may only name users whose ids begin with this, such as acme-.")] = "",
    workspace: WorkspaceOption = HERE,
) -> None:
    """Make a key and print it; it is shown this once. No scope includes another."""
    from motet.release.keys import SCOPES, Keys

    with said_in_a_line():
        asked = scope or ["admin"]
        if unknown := [one for one in asked if one not in SCOPES]:
            raise ReleaseError(f"--scope {unknown[0]}: no such scope; scopes: {', '.join(SCOPES)}")
        typer.echo(Keys(workspace).add(name, tuple(one for one in SCOPES if one in asked), users))


@key_commands.command("list")
def list_keys(workspace: WorkspaceOption = HERE) -> None:
    """List the keys' names and scopes, and whose users they may name."""
    from motet.release.keys import Keys

    with said_in_a_line():
        for name, key in sorted(Keys(workspace).all().items()):
            typer.echo(f"{name}  {', '.join(key.scopes)}{f'  users {key.users}*' if key.users else ''}")


@key_commands.command("revoke")
def revoke_key(name: Annotated[str, typer.Argument(help="The key.")], workspace: WorkspaceOption = HERE) -> None:
    """Take a key away; a running endpoint refuses it from then on."""
    from motet.release.keys import Keys

    with said_in_a_line():
        Keys(workspace).revoke(name)
