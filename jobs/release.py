"""release: the draft and its report become one immutable bundle, verified, gated, published."""

import time

from jobs.stages import Result, Run, say
from motet.release.publish import Released, Releases


def release(run: Run, draft: Result, report: Result) -> Released:
    """Publish, unless the current release was made of the same draft and report."""
    releases = Releases(run.workspace)
    about = {"recipe": run.recipe.name, "draft": draft.id, "report": report.id}
    for one in releases.all():
        if one.current and all(one.manifest.get(key) == value for key, value in about.items()):
            run.skipped.append("release")
            say(f"release: up to date (releases/{one.id})")
            return one
    say("release: started")
    start = time.monotonic()
    published = releases.publish(draft.folder, report.folder, run.recipe.release, about)
    run.seconds["release"] = round(time.monotonic() - start, 2)
    size = sum(entry["size"] for entry in published.manifest["files"].values()) / 1e6
    say(
        f"release: {published.id}, {len(published.manifest['files'])} files, {size:.1f} MB, verified and replayed "
        f"in {run.seconds['release']:.1f} s"
    )
    return published
