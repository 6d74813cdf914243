"""The labelled sample is of what it says, and the measure knows what was left standing."""

import pytest

from bench.scrubbing import LOCALES, left, measure, persons


def test_each_sentence_holds_what_it_is_to_lose() -> None:
    for sentences in persons(3, 0).values():
        assert len(sentences) == 3 * len(LOCALES)
        assert all(secret in sentence for sentence, secret in sentences)


@pytest.mark.parametrize(
    ("clean", "secret", "stays"),
    [
        ("[email]", "a@b.com", False),
        ("x@[email]", "a@b.com", True),
        ("call [phone]", "+49 30 901820", False),
        ("[phone]820", "+49 30 901820", False),
        ("[phone]-1820", "+49 30 901820", True),
        ("4111 [phone]", "4111 1111 1111 1111", True),
    ],
)
def test_left(clean: str, secret: str, stays: bool) -> None:
    assert left(clean, secret) is stays


def test_the_patterns_reach_what_the_page_says() -> None:
    found = measure("patterns", 20, 1)
    assert found["email"]["right"] == 1
    assert min(found["phone"]["right"], found["card"]["right"]) > 0.85
    others = [one for name, one in found.items() if name not in ("email", "phone", "card")]
    assert min(one["right"] for one in others) >= 0.9
    assert found["film title"]["right"] == 1
