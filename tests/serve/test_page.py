"""The page in a real browser over the real graph: what it shows, how it is used, and what it must never do."""

import os
import shutil
import urllib.parse
from pathlib import Path

import pyarrow as pa
import pytest

from motet.data.parquet import read_parquet, write_parquet
from motet.evaluation.report import write_report
from motet.storage import write_manifest
from tests.serve.browsers import BROWSER, DRIVER, open_browser, set_screen
from tests.serve.graphs import ask, publish, served

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not (BROWSER and DRIVER), reason="apt-get install chromium chromium-driver"),
]
SCRIPT, IMAGE = "red <script>alert(1)</script>", "green <img src=x onerror=alert(1)> & more"


@pytest.fixture(scope="module")
def release(draft, tmp_path_factory, ray_here):
    """The tiny release with markup in two titles and one attribute."""
    folder = tmp_path_factory.mktemp("page")
    marked = shutil.copytree(draft, folder / "marked")
    items = read_parquet(marked / "items.parquet")
    titles = [SCRIPT, IMAGE, *items.column("title").to_pylist()[2:]]
    items = items.set_column(items.column_names.index("title"), "title", pa.array(titles))
    (marked / "items.parquet").unlink()
    write_parquet(marked / "items.parquet", items)
    ndcg = {name: {"ndcg": {"mean": mean, "low": 0, "high": 1}} for name, mean in (("motet", 0.25), ("item_knn", 0.2))}
    told = {"recipe": "tiny", "protocol": "Leave one out.", "ranking": {"k": 10, "systems": ndcg}}
    write_report(folder / "report", told | {"counts": {"items": 20, "users": 12}})
    write_manifest(folder / "report", {"stage": "evaluate"})
    (marked / "manifest.json").unlink()
    write_manifest(marked, {"stage": "index"})
    serving = {"deadline_ms": 20_000, "events": {"store": "none"}}
    return publish(marked, folder / "report", folder, serve=serving)


@pytest.fixture(scope="module")
def endpoint(release):
    with served(release) as address:
        yield address


@pytest.fixture(scope="module")
def browser():
    one = open_browser()
    yield one
    one.quit()


@pytest.fixture
def page(browser, endpoint):
    """The page with its first answer; afterwards nothing was violated, logged or alerted."""
    set_screen(browser, 1200, 900)
    browser.get(endpoint + "/")
    one = Page(browser)
    one.settle()
    yield one
    assert browser.execute_script("return violations") == []
    assert browser.get_log("browser") == []  # an alert would have stopped the script before this


class Page:
    """What a person does with the page."""

    def __init__(self, browser):
        self.browser = browser

    def all(self, selector):
        from selenium.webdriver.common.by import By

        return self.browser.find_elements(By.CSS_SELECTOR, selector)

    def one(self, selector):
        return self.all(selector)[0]

    def script(self, code, *arguments):
        return self.browser.execute_script(code, *arguments)

    def until(self, code, *arguments):
        """Wait until an expression is true."""
        from selenium.webdriver.support.ui import WebDriverWait

        return WebDriverWait(self.browser, 20, 0.05).until(lambda _: self.script(f"return {code}", *arguments))

    def settle(self):
        """Wait until the answer is there, with its attributes."""
        self.until(
            "document.querySelector('#cards li .attributes:not(:empty)') && !document.querySelector('[aria-busy]')"
        )

    def titles(self):
        return self.script("return [...document.querySelectorAll('#cards h3')].map((one) => one.textContent)")

    def ids(self):
        return self.script("return [...document.querySelectorAll('#cards li')].map((one) => one.dataset.id)")

    def changed_from(self, ids):
        self.until("[...document.querySelectorAll('#cards li')].map((one) => one.dataset.id).join() !== arguments[0]",
                   ",".join(ids))  # fmt: skip
        self.settle()

    def press(self, *keys):
        from selenium.webdriver.common.action_chains import ActionChains

        ActionChains(self.browser).send_keys(*keys).perform()

    def focused(self):
        return self.browser.switch_to.active_element

    def tab_to(self, selector, most=120):
        """Press Tab until an element has the focus, which must be seen."""
        for _ in range(most):
            self.press("\ue004")
            if self.script("return document.activeElement.matches(arguments[0])", selector):
                return
        pytest.fail(f"Tab does not reach {selector}")

    def slide(self, number, value):
        self.script(
            "const one = document.querySelectorAll('#weights input')[arguments[0]]; one.value = arguments[1];"
            "one.dispatchEvent(new Event('input'));", number, value,
        )  # fmt: skip

    def requests(self):
        return self.script(
            "return performance.getEntriesByType('resource').filter((e) => e.name.includes('/v1/')).length"
        )


def choose(page, by):
    page.one(f"input[name=by][value={by}] + span").click()


def search(page, text):
    box = page.one("#search")
    box.clear()
    box.send_keys(text)
    page.until("document.querySelector('#found li')?.textContent.includes(arguments[0])", text)


def test_a_users_answer_is_shown_as_cards(page, endpoint, tmp_path):
    page.one("#user").clear()
    page.one("#user").send_keys("u03", "\ue007")
    page.until("document.querySelector('#status').textContent.includes('a known user')")
    page.settle()
    answer = ask(endpoint, "/v1/recommend", {"user_id": "u03", "k": 12})[2]
    assert page.ids() == [item["id"] for item in answer["items"]]
    for card, item in zip(page.all("#cards li"), answer["items"], strict=True):
        text = card.get_property("textContent")
        assert all(part in text for part in (item["title"], item["reason"]["text"], *item["sources"], *item["scores"]))
    assert len(page.all("#cards li:first-child .bar")) == 3
    picture = Path(os.environ.get("MOTET_PAGE_PICTURE") or tmp_path / "page.png")  # docs/page.png is made with it
    page.browser.save_screenshot(str(picture))
    assert picture.stat().st_size > 20_000


def test_the_corner_says_release_quality_and_health(page, release):
    page.until("document.querySelector('#health').className === 'well'")
    text = page.one("#about").text
    assert release.name in text
    assert "0.250 (best source 0.200, item_knn)" in text


def test_the_diagram_counts_what_each_stage_leaves(page, endpoint):
    stages = ask(endpoint, "/v1/recommend?trace=true", {"user_id": "u00", "k": 12})[2]["trace"]["stages"]
    boxes = page.all("#flow li")
    assert [box.text.split("\n")[0] for box in boxes] == ["embed", "filters", "sources", "fusion", "rerank"]
    for box, stage in zip(boxes[1:], stages, strict=True):
        assert box.text.split("\n")[1] == str(stage["kept"])
        assert all(name in box.text for name, count in stage["removed"].items() if count > 0)


def test_markup_in_titles_stays_text_everywhere(page):
    page.script("document.querySelector('#k').value = 24")  # all there are
    choose(page, "history")
    search(page, "<script>")
    page.one("#found button").click()
    page.until("document.querySelector('#status').textContent.includes('a history')")
    page.settle()
    assert page.one("#history button").get_property("textContent") == SCRIPT
    assert IMAGE in page.titles()
    reasons = page.script("return [...document.querySelectorAll('.reason')].map((one) => one.textContent)")
    assert any(SCRIPT in one for one in reasons)
    page.script("document.querySelector(`[data-id=i01] .actions button`).click()")
    page.until("document.querySelector('#similar').open")
    assert page.one("#similar-title").text == f"Similar to {IMAGE}"
    page.press("\ue00c")
    assert page.all("main img, main script, aside, #found img, #history script, dialog img, dialog script") == []


def test_the_policy_stops_markup_even_if_a_script_made_it(browser, page):
    said = page.script("try { document.body.innerHTML = '<p>'; return 'made'; } catch (error) { return error.name; }")
    assert said == "TypeError"
    assert browser.execute_script("return violations.splice(0)") == ["require-trusted-types-for trusted-types-sink"]
    assert len(browser.get_log("browser")) == 1


def test_a_history_that_is_clicked_together_changes_the_answer(page):
    choose(page, "history")
    page.until("document.querySelector('#status').textContent.includes('a stranger')")
    page.settle()
    before = page.ids()
    for title in ("blue boat", "white car"):
        search(page, title.upper()[:4].lower())
        page.script(
            "[...document.querySelectorAll('#found button')].find((one) => one.textContent === arguments[0])?.click()",
            title,
        )
    page.until("document.querySelector('#status').textContent.includes('a history')")
    page.changed_from(before)
    chosen = page.script("return [...document.querySelectorAll('#history button')].map((one) => one.textContent)")
    assert chosen
    assert not set(chosen) & set(page.titles())
    page.one("#history button").click()
    page.until("document.querySelectorAll('#history button').length === arguments[0]", len(chosen) - 1)


def test_a_slider_reorders_at_once_without_asking(page):
    asked, server = page.requests(), page.ids()
    for number, value in ((0, 0), (1, 0), (2, 90)):  # only the rating counts
        page.slide(number, value)
    assert page.requests() == asked
    ratings = page.script("return [...document.querySelectorAll('#cards li')].map((card) => "
                          "+card.querySelectorAll('dd')[2].textContent)")  # fmt: skip
    assert ratings == sorted(ratings, reverse=True)
    assert page.ids() != server
    assert set(page.ids()) == set(server)
    assert "stand elsewhere than in the server's order" in page.one("#order-note").text
    page.one("#reset").click()
    page.until("!document.querySelector('#own:not([hidden])')")
    assert page.ids() == server
    assert page.one("#order-note").text == ""


def test_the_server_orders_by_ones_own_weights(page, endpoint):
    for number, value in ((0, 0), (1, 0), (2, 80)):
        page.slide(number, value)
    mine = {"watch": 0, "like": 0, "rating": 1}
    page.one("#again").click()
    wanted = ask(endpoint, "/v1/recommend", {"user_id": "u00", "k": 12, "weights": mine})[2]["items"]
    page.until("document.querySelector('#order-note').textContent === ''")
    page.settle()
    assert page.ids() == [item["id"] for item in wanted]


def test_surfaces_and_filters_are_the_releases(page):
    assert [one.text for one in page.all("#surface option")] == ["home", "ratings", "reds"]
    page.script("document.querySelectorAll('#filters details').forEach((one) => (one.open = true))")
    before = page.ids()
    page.one("#filters input[value=blue] + span").click()
    page.changed_from(before)
    shown = page.script("return [...document.querySelectorAll('.attributes')].map((one) => one.textContent)")
    assert shown
    assert all("blue" in one for one in shown)
    low = page.one("[data-number=year] input")
    low.send_keys("2100", "\ue004")
    page.until("document.querySelector('#status').textContent.startsWith('Nothing passes')")
    assert page.ids() == []


def test_a_refusal_is_said(page):
    page.one("#user").clear()
    page.one("#user").send_keys("a" * 10)
    page.script("document.querySelector('#user').value = 'a\\u0001b'")
    page.one("[data-by=user] [type=submit]").click()
    page.until("!document.querySelector('#problem').hidden")
    assert "an id is 1 to 128 characters" in page.one("#problem").text
    logged = page.browser.get_log("browser")  # the browser itself logs the status
    assert [one["message"].rpartition("status of ")[2][:3] for one in logged] == ["422"]


def test_everything_can_be_done_with_the_keyboard(page):
    tab, enter, escape, down, right = "\ue004", "\ue007", "\ue00c", "\ue015", "\ue014"
    page.press(tab)
    assert page.focused().text == "To the recommendations"
    page.tab_to("#user")
    style = page.script(
        "const one = getComputedStyle(document.activeElement); return one.outlineStyle + one.outlineWidth"
    )
    assert style == "solid3px"
    before = page.ids()
    page.press("u05", enter)  # Tab has selected what was there
    page.changed_from(before)
    page.tab_to("#weights input")
    page.press(tab, *[right] * 90)
    page.until("document.querySelector('#weights output:nth-of-type(1)') && !document.querySelector('#own').hidden")
    page.tab_to("#cards li button")
    page.press(enter)
    page.until("document.querySelector('#similar').open")
    page.press(escape)
    page.until("!document.querySelector('#similar').open")
    assert page.focused().get_attribute("aria-label").startswith("Items similar to ")
    page.tab_to("[name=by]")
    page.press(right)
    page.until("!document.querySelector('[data-by=history]').hidden")
    page.settle()
    page.tab_to("#search")
    page.press(*"boat")
    page.until("document.querySelector('#found button')")
    page.press(down, enter)
    page.until("document.querySelectorAll('#history button').length === 1")
    page.settle()


def test_everything_has_a_name_and_results_are_announced(page):
    for one in page.all("button, input, select, dialog, main, summary"):
        if one.is_displayed() and one.tag_name != "main":
            assert one.accessible_name, one.get_attribute("outerHTML")
    assert page.one("#status").get_attribute("aria-live") == "polite"
    assert page.one("#problem").get_attribute("role") == "alert"


@pytest.mark.parametrize("width", [360, 700, 1200])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_fits_the_screen(page, width, scheme):
    set_screen(page.browser, width, 740, scheme)
    page.script("document.querySelectorAll('details').forEach((one) => (one.open = true))")
    for by in ("history", "text", "user"):
        choose(page, by)
        page.settle()
        assert page.script("return document.documentElement.scrollWidth <= innerWidth")
    bright = page.script(
        "return getComputedStyle(document.body).backgroundColor.match(/\\d+/g).every((one) => one > 128)"
    )
    assert bright == (scheme == "light")


@pytest.mark.parametrize(
    "query",
    ["limit=0", "limit=101", "limit=x", "serch=a", f"search={'x' * 201}", "id=", f"id={'x' * 129}", "id=%01"],
)
def test_a_bad_search_is_refused_without_an_echo(endpoint, query):
    status, _, answer, _ = ask(endpoint, f"/v1/items?{query}")
    assert status == 422
    assert "xxx" not in str(answer)
    assert "serch" not in str(answer)


def test_items_and_attributes_of_the_release(endpoint):
    def items(**asked):
        answer = ask(endpoint, "/v1/items?" + urllib.parse.urlencode(asked, doseq=True))[2]
        return [item["id"] for item in answer["items"]]

    assert set(items(search="BOAT", limit=100)) == {"i01", "i05", "i09", "i13", "i17"} - {"i01"}
    assert items(id=["i07", "none", "i02", "i07"]) == ["i07", "i02"]
    assert len(items(limit=3)) == 3
    (one,) = ask(endpoint, "/v1/items?id=i03")[2]["items"]
    assert one == {"id": "i03", "title": "black plane", "attributes": {"colour": ["black"], "year": 1959.0}}
    known = ask(endpoint, "/v1/attributes")[2]
    assert known["categories"]["colour"] == dict.fromkeys(("red", "green", "blue", "black", "white"), 4)
    assert known["numbers"] == {"year": {"low": 1950.0, "high": 2007.0}}
