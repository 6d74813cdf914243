"""The table of faults is made of what was measured, and the page holds it."""

from bench.reliability import BEGIN, END, FIGURES, PAGE, table
from motet.storage import read_json


def test_the_page_holds_the_table_of_the_figures() -> None:
    lines = read_json(FIGURES)
    _, _, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
    assert rest.partition(END)[0] == table(lines)
    assert len(lines) > 30


def test_a_row_has_the_fault_what_was_done_and_each_figure() -> None:
    one = {"fault": "F99", "what": "a | b", "injected": "once", "figures": {"lost": 0, "requests": 1200, "said": "x"}}
    assert table({"a": one}).splitlines()[2] == "| F99: a \\| b | once | lost: 0; requests: 1,200; said: x |"
