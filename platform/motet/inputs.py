"""Check a recipe against the files it names, before any stage runs: do they exist, and have they the columns?"""

import difflib
from importlib.util import find_spec

from motet.data.reading import columns_by_file, list_splits
from motet.data_settings import Entity, Table
from motet.encoders.text import check_model_folder
from motet.errors import DataError, EncoderError, RecipeError
from motet.privacy.scrub import presidio_is_there
from motet.recipe_file import LoadedRecipe
from motet.task import DERIVED_COLUMNS


def check_inputs(loaded: LoadedRecipe) -> None:
    """Check files, columns and the model's folder.

    Raises:
        RecipeError: with one line per mistake: file, line, value, nearest column.
    """
    data, problems = loaded.recipe.data, []
    log = data.interactions
    wanted: dict[tuple[str | int, ...], str] = {
        ("data", "interactions", key): getattr(log, key) for key in ("user", "item", "timestamp")
    }
    wanted |= {("data", "interactions", "ranges", name): name for name in log.ranges}
    if log.propensity is not None:
        wanted["data", "interactions", "propensity"] = log.propensity
    if data.split.column is not None:
        wanted["data", "split", "column"] = data.split.column
    for number, task in enumerate(loaded.recipe.tasks):
        for setting, expression in task.expressions.items():
            read = sorted(expression.columns - set(DERIVED_COLUMNS))
            wanted |= {("tasks", number, setting, name): name for name in read}
        if task.slate is not None:
            wanted["tasks", number, "slate"] = task.slate
    for setting, expression in log.signal_expressions.items():
        wanted |= {("data", "interactions", "signals", setting, name): name for name in sorted(expression.columns)}
    problems += _check_table(loaded, ("data", "interactions"), log, wanted)
    problems += _check_table(loaded, ("data", "items"), data.items, _entity_columns("items", data.items))
    if data.users:
        problems += _check_table(loaded, ("data", "users"), data.users, _entity_columns("users", data.users))
    try:
        check_model_folder(loaded.recipe.encoder.model)
    except EncoderError as error:
        problems.append(f"{loaded.where('encoder', 'model')}: {error}")
    if data.clean.scrub == "presidio" and not presidio_is_there():
        problems.append(
            f"{loaded.where('data', 'clean', 'scrub')}: presidio-analyzer is not installed; pip install "
            "'motet[presidio]', or write scrub: patterns"
        )
    if loaded.recipe.train.private is not None and find_spec("opacus") is None:
        problems.append(f"{loaded.where('train', 'private')}: opacus is not installed; pip install 'motet[private]'")
    if problems:
        raise RecipeError(list(dict.fromkeys(problems)))


def _entity_columns(name: str, entity: Entity) -> dict[tuple[str | int, ...], str]:
    wanted: dict[tuple[str | int, ...], str] = {("data", name, "id"): entity.id}
    if getattr(entity, "title", None):
        wanted["data", name, "title"] = entity.title  # type: ignore[attr-defined]
    for key in ("text", "categories", "numbers"):
        wanted |= {("data", name, key, place): column for place, column in enumerate(getattr(entity, key))}
    return wanted


def _check_table(
    loaded: LoadedRecipe, at: tuple[str, ...], table: Table, wanted: dict[tuple[str | int, ...], str]
) -> list[str]:
    files: list[tuple[str, list[str]]] = []
    for key, source in zip(("path", "records"), table.sources, strict=False):
        try:
            list_splits(Table(**{name: getattr(source, name) for name in Table.model_fields}))
            files += columns_by_file(source)
        except DataError as error:
            return [f"{loaded.where(*at, key)}: {'.'.join(at)}.{key}: {error}"]
    other = _columns_of_records(table)
    problems = []
    for path, name in wanted.items():
        if name in other and path[-1] not in ("user", "item", "timestamp"):
            continue
        found = ((file, _wrong_column(name, have)) for file, have in files)
        file, wrong = next(((file, wrong) for file, wrong in found if wrong), ("", ""))
        if wrong:
            problems.append(f"{loaded.where(*path)}: {'.'.join(map(str, path[:3]))}: {file} has {wrong}")
    return problems


def _columns_of_records(table: Table) -> set[str]:
    """Return the columns that the records beside a log have; the log itself needs none of these but its keys."""
    return {name for source in table.sources[1:] for _, columns in columns_by_file(source) for name in columns}


def _wrong_column(name: str, have: list[str]) -> str:
    """Return what is wrong with a file's columns, or nothing if exactly one has the name."""
    if name not in have:
        return f"no column {name!r}{_near(name, have)}"
    return f"{have.count(name)} columns named {name!r}; rename all but one" if have.count(name) > 1 else ""


def _near(name: str, have: list[str]) -> str:
    near = difflib.get_close_matches(name, have, 1, 0.5)
    return f"; did you mean {near[0]!r}?" if near else f"; columns: {', '.join(have)}"
