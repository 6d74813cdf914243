"""What is left out of texts, what stays, and that both ways know the same three kinds."""

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from motet.privacy.scrub import presidio_is_there, scrub, scrub_one

WAYS = ["patterns", pytest.param("presidio", marks=pytest.mark.skipif(not presidio_is_there(), reason="an extra"))]


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("write to jane.doe+shop@mail.example.com today", "write to [email] today"),
        ("jane@example.co.uk, joe@example.org", "[email], [email]"),
        ("jürgen@müller.de", "[email]"),
        ("jane (at) example (dot) com", "[email]"),
        ("jane[at]example.com", "[email]"),
        ("card 4111 1111 1111 1111 of hers", "card [card] of hers"),
        ("4111111111111111", "[card]"),
        ("3782-822463-10005", "[card]"),
        ("180086781997680", "[card]"),
        ("call +49 30 901820 now", "call [phone] now"),
        ("0049 30 901820", "[phone]"),
        ("+14155552671", "[phone]"),
        ("(415) 555-2671 or 415-555-2671 x12", "[phone] or [phone]"),
        ("020 7946 0958", "[phone]"),
        ("0171 2345678", "[phone]"),
        ("06.12.34.56.78", "[phone]"),
        ("05384 69994 or 02074960622", "[phone] or [phone]"),
        ("Maestro 676328954463", "Maestro [card]"),
    ],
)
def test_left_out(text: str, clean: str) -> None:
    assert scrub_one(text, "patterns") == clean


@pytest.mark.parametrize(
    "text",
    [
        "2001: A Space Odyssey (1968)",
        "1999-2004, 2005/2006, 1998 1999 2000",
        "2024-10-12 10:30",
        "2024-10-12 1030",
        "12.10.2024 and 12/10/2024 1030",
        "ISBN 978-3-16-148410-0",
        "ISBN 0-306-40615-2",
        "192.168.100.200, 193.183.167.7",
        "4918192708350, 7250749318642",
        "9437666609",
        "4111 1111 1111 1112",  # its check digit is wrong
        "0000 0000 0000 0000",
        "order 12345678901234567890123",
        "WX-4155552671-B",
        "#4155552671",
        "USB 3.0, 1920x1080, 2 x 4 x 6",
        "price 1 299 000.50",
        "@handle on the net, a@b, user@localhost",
        "100 % cotton, 12 pack",
        "",
    ],
)
def test_stays(text: str) -> None:
    assert scrub_one(text, "patterns") == text


@pytest.mark.parametrize("way", WAYS)
def test_both_ways_know_the_three_kinds(way: str) -> None:
    text = "joe@example.com, 4111111111111111, +1 415 555 2671, 1968"
    assert scrub_one(text, way) == "[email], [card], [phone], 1968"  # type: ignore[arg-type]


@pytest.mark.parametrize("way", [*WAYS, "none"])
def test_a_column_keeps_its_length_and_its_nulls(way: str) -> None:
    texts = pa.array(["plain", None, "to joe@example.com", ""], pa.string())
    last = "to joe@example.com" if way == "none" else "to [email]"
    assert scrub(texts, way).to_pylist() == ["plain", None, last, ""]  # type: ignore[arg-type]


@given(st.text(alphabet=st.characters(codec="utf-8", categories=("L", "N", "P", "Zs", "Sc")), max_size=200))
def test_it_ends_for_any_text_and_twice_is_once(text: str) -> None:
    once = scrub_one(text, "patterns")
    assert scrub(pa.array([once], pa.string()), "patterns").to_pylist() == [scrub_one(once, "patterns")]
    assert len(once) <= len(text)


@given(st.from_regex(r"[0-9 .()+-]{0,60}", fullmatch=True), st.sampled_from(["a" * 60, "é", " "]))
def test_a_column_is_scrubbed_as_its_texts_are(digits: str, tail: str) -> None:
    """What decides whether a text is looked at at all passes over none that has something."""
    text = f"{digits}{tail}"
    assert scrub(pa.array([text], pa.string()), "patterns").to_pylist() == [scrub_one(text, "patterns")]
