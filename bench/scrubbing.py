"""What is left out of texts, and what of it rightly: `python bench/scrubbing.py`.

Sentences with an e-mail address, a phone or a card number that Faker makes for eleven countries, and texts with none:
titles of films, and the numbers that products have. Prints one table for both ways of `data.clean.scrub`, and writes
bench/results/scrubbing.json.
"""

import csv
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "platform"), str(ROOT)]

import typer  # noqa: E402
from faker import Faker  # noqa: E402

from motet.privacy.scrub import Scrub, scrub_one  # noqa: E402
from motet.storage import write_json  # noqa: E402
from recipes.fetch_movielens import CACHE  # noqa: E402

LOCALES = ("en_US", "en_GB", "en_IN", "de_DE", "fr_FR", "es_ES", "it_IT", "nl_NL", "pl_PL", "pt_BR", "ja_JP")
FRAMES = ("write to {} by Friday", "{}", "Ask for Kim ({}).", "contact: {}; in the evening", "call or mail {}, please")
"""What stands around what is to be left out; the frames themselves hold nothing of the kind."""


def persons(count: int, seed: int) -> dict[str, list[tuple[str, str]]]:
    """Return by kind so many (sentence, what it should have no more) of each country."""
    found: dict[str, list[tuple[str, str]]] = {"email": [], "phone": [], "card": []}
    for place, locale in enumerate(LOCALES):
        fake = Faker(locale)
        fake.seed_instance(seed + place)
        makers: dict[str, Callable[[], str]] = {
            "email": fake.email, "phone": fake.phone_number, "card": fake.credit_card_number,
        }  # fmt: skip
        for kind, make in makers.items():
            for number in range(count):
                secret = make()
                found[kind].append((FRAMES[number % len(FRAMES)].format(secret), secret))
    return found


def things(count: int, seed: int) -> dict[str, list[str]]:
    """Return by kind so many texts that hold nothing to be left out."""
    fake = Faker("en_US")
    fake.seed_instance(seed)
    makers: dict[str, Callable[[], str]] = {
        "ISBN": lambda: fake.isbn13() if fake.boolean() else fake.isbn10(),
        "EAN": fake.ean13,
        "date and time": lambda: fake.date_time().strftime(fake.random_element(["%Y-%m-%d %H:%M", "%d.%m.%Y %H%M"])),
        "IP address": fake.ipv4,
        "article number": lambda: fake.bothify("??-#####-##").upper(),
        "size": lambda: fake.numerify("%## x %## x %## mm, %.# kg"),
        "price": lambda: f"{fake.random_int(1, 9_999_999):,}.{fake.random_int(10, 99)} USD",
        "sentence": fake.sentence,
    }
    return {kind: [make() for _ in range(count)] for kind, make in makers.items()}


def film_titles() -> list[str]:
    """Return the titles of MovieLens-100k with their years."""
    with (CACHE / "ml-100k" / "items.csv").open(encoding="utf-8", newline="") as file:
        return [f"{row['title']} ({row['year']})" for row in csv.DictReader(file)]


def left(clean: str, secret: str) -> bool:
    """Return whether a scrubbed sentence still holds what it should not, or more than three digits in a row of it."""
    if "@" in secret:
        return secret in clean or "@" in clean
    digits = "".join(one for one in secret if one.isdecimal())
    stay = "".join(one for one in clean if one.isdecimal())
    return any(digits[place : place + 4] in stay for place in range(len(digits) - 3))


def measure(kind: Scrub, count: int, seed: int) -> dict[str, dict[str, Any]]:
    """Return by what a text holds: how many there are, the share that is right, and microseconds of a text."""
    found: dict[str, dict[str, Any]] = {}
    scrub_one("", kind)
    for name, sentences in persons(count, seed).items():
        began = time.perf_counter()
        clean = [scrub_one(sentence, kind) for sentence, _ in sentences]
        seconds = time.perf_counter() - began
        gone = sum(not left(one, secret) for one, (_, secret) in zip(clean, sentences, strict=True))
        found[name] = row(len(sentences), gone, seconds)
    for name, texts in {**things(count, seed), "film title": film_titles()}.items():
        began = time.perf_counter()
        same = sum(scrub_one(text, kind) == text for text in texts)
        found[name] = row(len(texts), same, time.perf_counter() - began)
    return found


def row(texts: int, right: int, seconds: float) -> dict[str, Any]:
    """Return one line."""
    return {"texts": texts, "right": right / texts, "us": seconds / texts * 1e6}


def show(results: dict[str, dict[str, dict[str, Any]]]) -> None:
    """Print the table."""
    print(f"{'':<16}{'texts':>7}" + "".join(f"{kind:>12}{'us a text':>11}" for kind in results))
    for name, one in results["patterns"].items():
        cells = "".join(f"{found[name]['right']:>12.1%}{found[name]['us']:>11.0f}" for found in results.values())
        print(f"{name:<16}{one['texts']:>7}{cells}")


def main(
    count: Annotated[int, typer.Option(help="Sentences of each kind and country, texts of each kind.")] = 100,
    seed: Annotated[int, typer.Option(help="Of what Faker makes.")] = 0,
) -> None:
    """Measure both ways: the share of sentences that lose what they should, and of other texts that stay."""
    kinds: tuple[Scrub, ...] = ("patterns", "presidio")
    results = {str(kind): measure(kind, count, seed) for kind in kinds}
    show(results)
    (ROOT / "bench" / "results").mkdir(exist_ok=True)
    write_json(ROOT / "bench" / "results" / "scrubbing.json", results)


if __name__ == "__main__":
    typer.run(main)
