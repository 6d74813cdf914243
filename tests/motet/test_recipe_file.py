"""Every mistake of a recipe with file, line, value, nearest name and fix; all of them at once; overrides; origins."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from motet.errors import RecipeError
from motet.recipe_file import describe_recipe, load_recipe

_GOOD = """\
name: shop
data:
  interactions: {path: log.csv}
  items:
    path: items.csv
    text: [title]
    categories: [genre]
tasks:
  - {name: watch, kind: retrieval}
  - {name: like, kind: binary, label: rating >= 4}
encoder: {model: minilm}
surfaces:
  home: {weights: {like: 1.0}}
"""
_LIST = " (motet recipe schema lists them)"


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A recipe without a mistake, in the current folder."""
    monkeypatch.chdir(tmp_path)
    Path("r.yaml").write_text(_GOOD)
    return Path("r.yaml")


def _problems(file: Path, text: str | None = None, *overrides: str) -> list[str]:
    if text is not None:
        file.write_text(text)
    with pytest.raises(RecipeError) as error:
        load_recipe(file, overrides)
    return error.value.problems


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("    categories", "    categorys",
         "r.yaml:7: data.items.categorys = ['genre'] is not a setting; did you mean data.items.categories?" + _LIST),
        ("encoder: {", "encoder: {poolin: mean, ",
         "r.yaml:11: encoder.poolin = 'mean' is not a setting; did you mean encoder.pooling?" + _LIST),
        ("kind: binary,", "kind: binary, wait: 2,",
         "r.yaml:10: tasks.1.wait = 2 is not a setting; did you mean tasks.1.weight?" + _LIST),
        ("  home: {", "  home: {filter: {genre: a}, ",
         "r.yaml:13: surfaces.home.filter = {'genre': 'a'} is not a setting; "
         "did you mean surfaces.home.filters?" + _LIST),
        ("encoder:", "zzz: 1\nencoder:", "r.yaml:11: zzz = 1 is not a setting; settings here: data, encoder, evaluate, "
         "index, model, name, privacy, ranking, release, resources, retrieval, seed, serve, surfaces, tasks, train, "
         "tune, workspace" + _LIST),
        ("    text: [title]\n", "", "r.yaml:4: data.items.text is missing; set it (motet recipe schema says how)"),
        ("encoder: {model: minilm}\n", "", "r.yaml:1: encoder is missing; set it (motet recipe schema says how)"),
        ("kind: binary", "kind: binry", "r.yaml:10: tasks.1.kind = 'binry': input should be 'retrieval', 'binary', "
         "'regression', 'count', 'ordinal' or 'ranking'; did you mean 'binary'?"),
        ("    text: [title]", "    text: title", "r.yaml:6: data.items.text = 'title': input should be a valid list"),
        ("encoder: {model: minilm}", "encoder: minilm",
         "r.yaml:11: encoder = 'minilm': input should be a valid mapping or instance of EncoderSettings"),
        ("like: 1.0", "like: .inf", "r.yaml:13: surfaces.home.weights.like = inf: input should be a finite number"),
        ("like: 1.0", "lik: 1.0", "r.yaml:13: surfaces.home.weights.lik: 'lik' is not a task; did you mean 'like'?"),
        ("like: 1.0}", "like: 1.0}, filters: {genre: [1, 2]}", "r.yaml:13: surfaces.home.filters.genre: 'genre' is a "
         "category; give its values as text, such as '1'"),
        ("rating >= 4", "rating >", "r.yaml:10: tasks.1.label: label 'rating >': ends at column 9, expected a column, "
         "number, 'text' or '('"),
        (", label: rating >= 4", "", "r.yaml:10: tasks.1: task 'like' is binary: give it a `label`, such as "
         "`rating >= 4`"),
        ("encoder:", "model:\n  dim: 64\n  heads: 7\nencoder:",
         "r.yaml:13: model: heads = 7 does not divide dim = 64; choose a divisor"),
        ("encoder:", "train:\n  select_by: lik.auc\nencoder:",
         "r.yaml:12: train.select_by: 'lik.auc' is not a metric of a task; did you mean 'like.auc'?"),
        ("    categories", "    path: again\n    categories", "r.yaml:7: data.items.path is set twice; keep one"),
        ("  home:", "  on: {weights: {like: 1}}\n  home:",
         "r.yaml:13: surfaces.on: the key on is not read as text; write it in quotes"),
        ("  home:", "  7: {weights: {like: 1}}\n  home:",
         "r.yaml:13: surfaces.7: the key 7 is not read as text; write it in quotes"),
        ("minilm", '"${NOT_SET}/m"', "r.yaml:11: encoder.model = '${NOT_SET}/m': the variable NOT_SET is not set; "
         "set it, or write ${NOT_SET:-default}"),
        ("encoder:", "data: [\nencoder:", "r.yaml:13: this is not YAML: expected ',' or ']', but got '<scalar>'; "
         "check indentation and colons"),
        ("  items:", " items:", "r.yaml:4: this is not YAML: expected <block end>, but found '<block mapping start>'; "
         "check indentation and colons"),
        ("name: shop", "name: 2024-99-99", "r.yaml:1: a value cannot be read: month must be in 1..12; write it in "
         "quotes"),
        ("name: shop", "name: 2024-01-01", "r.yaml:1: name = datetime.date(2024, 1, 1): input should be a valid "
         "string"),
        ("encoder:", "data: {clean: {missing: {numbers: meen}}}\nencoder:", "r.yaml:11: data is set twice; keep one"),
        ("name: shop", "name: shop\nevaluate: &a {actors: *a}", "r.yaml:1: a value holds itself or is nested too "
         "deeply; write it out flat"),
    ],
)  # fmt: skip
def test_a_mistake_has_line_value_name_and_fix(file: Path, old: str, new: str, problem: str) -> None:
    assert old in _GOOD
    assert _problems(file, _GOOD.replace(old, new, 1))[0] == problem


def test_what_a_union_says_comes_in_one_line(file: Path) -> None:
    text = _GOOD.replace("tasks:", "  clean: {missing: {numbers: meen}}\ntasks:")
    assert _problems(file, text) == [
        "r.yaml:8: data.clean.missing.numbers = 'meen': input should be 'mean' or 'median'; did you mean 'mean'?, or "
        "input should be a valid number, unable to parse string as a number"
    ]


def test_all_mistakes_come_at_once(file: Path) -> None:
    text = _GOOD.replace("name: shop", "name: Shop!\nseed: -1").replace("text: [title]", "text: []")
    text = text.replace("like: 1.0}", "lik: 1.0}").replace("minilm", "minilm, poolin: mean")
    found = _problems(file, text + "evaluate: {surface: hom}\n7: x\n", "train.epochs=0", "nothing")
    assert [one.split(" = ")[0] for one in found] == [
        "r.yaml:16: 7: the key 7 is not read as text; write it in quotes",
        "--set nothing: write --set section.key=value",
        "r.yaml:1: name",
        "r.yaml:2: seed",
        "r.yaml:7: data.items.text",
        "r.yaml:12: encoder.poolin",
        "--set train.epochs=0: train.epochs",
        "r.yaml:14: surfaces.home.weights.lik: 'lik' is not a task; did you mean 'like'?",
        "r.yaml:15: evaluate.surface: 'hom' is not a surface; did you mean 'home'?",
    ]


def test_settings_that_fit_nothing_are_not_blamed_for_what_was_left_out(file: Path) -> None:
    # train.select_by is wrong by itself; that it names no task is no second mistake
    text = _GOOD.replace("watch", "next") + "train: {select_by: 3}\n"
    assert _problems(file, text) == ["r.yaml:14: train.select_by = 3: input should be a valid string"]


@pytest.mark.parametrize(
    ("override", "problem"),
    [
        ("name", "write --set section.key=value"),
        ("=1", "write --set section.key=value"),
        ("a..b=1", "write --set section.key=value"),
        ("tasks.9.weight=1", "'9' is not a place of a list of 2; valid: watch, like"),
        ("tasks.lik.weight=1", "'lik' is not a place of a list of 2; did you mean 'like'?"),
        ("tasks.²=1", "'²' is not a place of a list of 2; valid: watch, like"),
        ("data.items.text.1=a", "'1' is not a place of a list of 1"),
        ("name.x=1", "'x' is inside a value, not a section; see motet recipe show"),
        ("name=[", "'[' is not a YAML value; quote it"),
        ("name=2024-99-99", "'2024-99-99' is not a YAML value; quote it"),
        ("tasks.1.weight=-2", "tasks.1.weight = -2: input should be greater than 0"),
        ("train.epoch=3", "train.epoch = 3 is not a setting; did you mean train.epochs?" + _LIST),
    ],
)
def test_an_override_that_is_wrong_names_itself(file: Path, override: str, problem: str) -> None:
    assert _problems(file, None, override) == [f"--set {override}: {problem}"]


def test_overrides_are_yaml_and_the_last_wins(file: Path) -> None:
    given = [
        "train.epochs=3",
        "train.epochs=4",
        "tasks.1.weight=2.5",
        "model={dim: 8, heads: 1}",
        "data.items.text.0=t",
    ]
    recipe = load_recipe(file, given).recipe
    assert (recipe.train.epochs, recipe.tasks[1].weight, recipe.model.dim) == (4, 2.5, 8)
    assert recipe.data.items.text == ("t",)
    assert load_recipe(file, ["surfaces.7.weights.like=1"]).recipe.surfaces.keys() == {"home", "7"}
    assert load_recipe(file, ["workspace=a=b"]).recipe.workspace == "a=b"


@pytest.mark.parametrize(
    ("value", "variable", "expected"),
    [
        ("${MOTET_T:-x}/m", None, "x/m"),
        ("${MOTET_T:-x}/m", "", "x/m"),
        ("${MOTET_T:-x}/m", "y", "y/m"),
        ("${MOTET_T}/m", "y", "y/m"),
        ("${MOTET_T:-}m", None, "m"),
        ("${MOTET_T:-~/a}/m", None, "/home/me/a/m"),
        ("~/m", None, "/home/me/m"),
        ("a~/m", None, "a~/m"),
        ("s3://b/${MOTET_T}?x=$1", "y", "s3://b/y?x=$1"),
    ],
)
def test_variables_in_paths(
    file: Path, monkeypatch: pytest.MonkeyPatch, value: str, variable: str | None, expected: str
) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    monkeypatch.delenv("MOTET_T", raising=False)
    if variable is not None:
        monkeypatch.setenv("MOTET_T", variable)
    recipe = load_recipe(file, [f"encoder.model='{value}'", f"data.items.path='{value}'"]).recipe
    assert recipe.encoder.model == recipe.data.items.path == expected


def test_only_paths_are_expanded(file: Path) -> None:
    recipe = load_recipe(file, ["data.items.text=['~', '${HOME}']"]).recipe
    assert recipe.data.items.text == ("~", "${HOME}")


def test_where_a_value_was_said(file: Path) -> None:
    loaded = load_recipe(file, ["model={dim: 8}"])
    assert loaded.where("data", "items", "text", 0) == "r.yaml:6"
    assert loaded.where("data", "items", "numbers") == "r.yaml:4"
    assert loaded.where("tasks", 1, "label") == "r.yaml:10"
    assert loaded.where("train", "epochs") == "r.yaml:1"
    assert loaded.where("model", "dim") == "--set model={dim: 8}"


def test_every_setting_is_described_with_its_origin(file: Path) -> None:
    rows = {setting: (value, origin) for setting, value, origin in describe_recipe(load_recipe(file, ["seed=7"]))}
    assert rows["seed"] == (7, "--set seed=7")
    assert rows["data.items.text"] == (["title"], "r.yaml:6")
    assert rows["tasks.1.label"] == ("rating >= 4", "r.yaml:10")
    assert rows["tasks.1.weight"] == (1.0, "default")
    assert rows["data.users"] == (None, "default")


def test_merged_keys_know_their_lines(file: Path) -> None:
    file.write_text(
        _GOOD + "serve:\n  gateway: &one\n    num_cpus: 0.5\n  embedder:\n    <<: *one\n    max_replicas: 3\n"
    )
    loaded = load_recipe(file)
    assert loaded.recipe.serve.embedder.num_cpus == 0.5
    assert loaded.where("serve", "embedder", "num_cpus") == "r.yaml:16"
    assert loaded.where("serve", "embedder", "max_replicas") == "r.yaml:19"


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "r.yaml:1: a recipe is a mapping of settings such as `name: shop`, not NoneType"),
        (b"[1]", "r.yaml:1: a recipe is a mapping of settings such as `name: shop`, not list"),
        (b"\xff", "r.yaml: cannot be read as UTF-8 text ("),
        (b"a: \x00", "r.yaml:1: this is not YAML: special characters are not allowed"),
        (b"[" * 5000, "r.yaml:1: a value cannot be read: "),
    ],
)
def test_files_that_are_no_recipe(file: Path, content: bytes, problem: str) -> None:
    file.write_bytes(content)
    assert _problems(file)[0].startswith(problem)


def test_a_file_that_is_not_there(file: Path) -> None:
    assert _problems(Path("q.yaml")) == ["q.yaml: no such recipe; the repository's are in recipes/"]
    assert _problems(file.parent.resolve())[0].endswith("Is a directory: '" + str(file.parent.resolve()) + "')")


@given(
    st.sampled_from(_GOOD.splitlines()), st.text(st.characters(exclude_categories=["Cs"]), max_size=12), st.booleans()
)
def test_a_random_line_gives_a_recipe_or_a_recipe_error(line: str, noise: str, behind: bool) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "r.yaml"
        file.write_text(_GOOD.replace(line, f"{line}{noise}" if behind else f"{noise}{line}"), encoding="utf-8")
        problems = _said(file)
        assert problems is None or (problems and all(problem.startswith(str(file)) for problem in problems))


def _said(file: Path) -> list[str] | None:
    try:
        load_recipe(file)
    except RecipeError as error:
        return error.problems
    return None
