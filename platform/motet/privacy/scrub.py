"""Texts without what reaches a person: e-mail addresses, phone numbers and card numbers become a word in brackets.

`patterns` knows their usual forms:

    [email]   name@host.tld, also with (at) and [dot]
    [card]    12 to 19 digits that begin as a card's do, in groups or not, whose check digit is right (ISO/IEC 7812)
    [phone]   +49 ..., 00 49 ..., (020) ..., 020..., and three or more groups with 9 to 12 digits in all; no dates, no
              IP addresses. Nine or more digits in a row that do not begin with 0 are left: they may be an article's

`presidio` takes the recognizers of presidio-analyzer for the same three, which know the numbering plans of countries.
`bench/scrubbing.py` measures both on a labelled sample.
"""

import re
from collections.abc import Callable, Iterator
from functools import cache
from importlib.util import find_spec
from typing import Any, Literal

import pyarrow as pa
import pyarrow.compute as pc

Scrub = Literal["patterns", "presidio", "none"]
Span = tuple[int, int, str]
"""Start, end and word of what is left out."""

_SUSPECT = r"@|(?i)[(\[]\s*at\s*[)\]]|(\d\D{0,3}){8}\d"
"""What a text must hold to be looked at at all: nearly none does."""
_AT, _DOT = r"(?:@|\s*[(\[]\s*at\s*[)\]]\s*)", r"(?:\.|\s*[(\[]\s*dot\s*[)\]]\s*)"
_EMAIL = re.compile(rf"(?<![\w.+-])[\w.%+'-]{{1,64}}{_AT}(?:[\w-]{{1,63}}{_DOT}){{1,8}}[^\W\d_]{{2,24}}(?![\w-])", re.I)
_CARD = re.compile(r"(?<![\w.-])(?:[2-6]\d|18)(?:[ -]?\d){10,17}(?![\w-])")
_SHORT_CARDS = {12: re.compile(r"5[0678]|6"), 13: re.compile("4")}
"""How a number of so few digits begins, if it is a card's: Maestro and old Visa."""
_BETWEEN = r"[ .\-/\u2010-\u2013]"
_PHONE = re.compile(
    rf"""(?<![\w.+#-])(?:
        (?:\+|00{_BETWEEN}?)[1-9]\d{{0,2}}(?:{_BETWEEN}?\(?\d{{1,5}}\)?){{2,6}}   # with the country
      | \(0?\d{{2,5}}\){_BETWEEN}?\d{{2,8}}(?:{_BETWEEN}\d{{2,5}}){{0,3}}         # with its area in brackets
      | \d{{2,5}}(?:{_BETWEEN}\d{{2,5}}){{2,5}}                                   # in groups
      | 0\d{{2,4}}{_BETWEEN}\d{{4,8}}                                             # with a trunk prefix
      | 0[1-9]\d{{7,9}}
    )(?:\s?(?:x|ext\.?)\s?\d{{1,6}})?(?![\w-]|\.\d)""",
    re.X | re.I,
)
_ABROAD = re.compile(rf"\+|00{_BETWEEN}?[1-9]")
_DATE = re.compile(r"(?:1[89]|20)\d\d[-./ ](?:0?[1-9]|1[0-2])[-./ ]\d|\d?\d[-./ ]\d?\d[-./ ](?:1[89]|20)\d\d")
_YEARS = re.compile(r"(?:(?:1[89]|20)\d\d\D?){2,}")


def scrub(texts: pa.Array, kind: Scrub) -> pa.Array:
    """Return texts [N] without what `kind` finds; null stays null."""
    if kind == "none":
        return texts
    suspect = pc.fill_null(pc.match_substring_regex(texts, _SUSPECT), False)
    if not pc.any(suspect).as_py():
        return texts
    clean = [scrub_one(text, kind) for text in texts.filter(suspect).to_pylist()]
    return pc.replace_with_mask(texts, suspect, pa.array(clean, pa.string()))


def scrub_one(text: str, kind: Scrub) -> str:
    """Return a text without what `kind` finds."""
    parts, end = list[str](), 0
    for start, stop, word in _apart(_finder(kind)(text)):
        parts += [text[end:start], f"[{word}]"]
        end = stop
    return "".join([*parts, text[end:]])


def _apart(spans: Iterator[Span]) -> Iterator[Span]:
    """Yield spans from left to right; of those that overlap the first that was found, which is the more certain."""
    kept: list[Span] = []
    for span in spans:
        if all(span[1] <= other[0] or other[1] <= span[0] for other in kept):
            kept.append(span)
    yield from sorted(kept)


def _finder(kind: Scrub) -> Callable[[str], Iterator[Span]]:
    if kind == "none":
        return lambda text: iter(())
    return _by_patterns if kind == "patterns" else _presidio()


def _by_patterns(text: str) -> Iterator[Span]:
    for found in _EMAIL.finditer(text):
        yield *found.span(), "email"
    for found in _CARD.finditer(text):
        if _is_card(_digits(found[0])):
            yield *found.span(), "card"
    for found in _PHONE.finditer(text):
        if _is_phone(found[0]):
            yield *found.span(), "phone"


def _digits(text: str) -> str:
    return "".join(one for one in text if one.isdecimal())


def _is_card(digits: str) -> bool:
    """Return whether digits begin as a card of their length does, and the last one is their check digit."""
    short = _SHORT_CARDS.get(len(digits))
    if short is not None and not short.match(digits):
        return False
    doubled = (2 * int(one) if place % 2 else int(one) for place, one in enumerate(reversed(digits)))
    return len(set(digits)) > 1 and sum(one - 9 if one > 9 else one for one in doubled) % 10 == 0


def _is_phone(found: str) -> bool:
    number = re.split(r"(?i)x|ext", found)[0]
    digits = _digits(number)
    if _ABROAD.match(number):
        return 8 <= len(digits) <= 17
    if _DATE.match(number) or _YEARS.fullmatch(number):
        return False
    groups = number.split(".")
    is_address = len(groups) == 4 and all(one.isdecimal() and int(one) < 256 for one in groups)
    return 9 <= len(digits) <= 12 and not is_address


def presidio_is_there() -> bool:
    """Return whether presidio-analyzer is installed."""
    return find_spec("presidio_analyzer") is not None


@cache
def _presidio() -> Callable[[str], Iterator[Span]]:
    """Return the recognizers of presidio-analyzer as one; none of them needs a language model or the network."""
    import tldextract
    from presidio_analyzer import LocalRecognizer
    from presidio_analyzer.predefined_recognizers import CreditCardRecognizer, EmailRecognizer, PhoneRecognizer

    suffixes = tldextract.TLDExtract(suffix_list_urls=(), cache_dir=None)

    class Emails(EmailRecognizer):
        """Knows the domains that come with tldextract, and fetches none."""

        def validate_result(self, pattern_text: str) -> bool:
            return bool(suffixes(pattern_text).fqdn)

    nothing: Any = None  # what a language model says of the text
    known: dict[str, LocalRecognizer] = {"email": Emails(), "card": CreditCardRecognizer(), "phone": PhoneRecognizer()}

    def find(text: str) -> Iterator[Span]:
        for word, recognizer in known.items():
            for one in recognizer.analyze(text, recognizer.supported_entities, nothing) or ():
                if one.score >= 0.4:
                    yield one.start, one.end, word

    return find
