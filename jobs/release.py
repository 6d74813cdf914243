"""release: the draft and its report become one immutable bundle, verified, gated, published."""

import time

from jobs.stages import Result, Run, say
from motet.release.publish import Released, Releases


def release(run: Run, draft: Result, report: Result) -> Released:
    """Publish, unless a release was made of the same draft and report; a rollback is not undone."""
    releases = Releases(run.workspace)
    about = {"recipe": run.recipe.name, "draft": draft.id, "report": report.id}
    for one in releases.all():
        if all(one.manifest.get(key) == value for key, value in about.items()):
            releases.verified(one.id)
            run.skipped.append("release")
            say(f"release: up to date (releases/{one.id})")
            if not one.current:
                say(f"release: CURRENT stays at {releases.current_id()}; motet release rollback {one.id} points to it")
            return one
    say("release: started")
    start = time.monotonic()
    published = releases.publish(draft.folder, report.folder, run.recipe.release, about, run.force)
    for against in published.manifest.get("forced", ()):
        say(f"release: forced: {against}")
    run.seconds["release"] = round(time.monotonic() - start, 2)
    size = sum(entry["size"] for entry in published.manifest["files"].values()) / 1e6
    say(
        f"release: {published.id}, {len(published.manifest['files'])} files, {size:.1f} MB, verified and replayed "
        f"in {run.seconds['release']:.1f} s"
    )
    return published
