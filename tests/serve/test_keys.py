"""Keys and limits over HTTP, on the real graph."""

import pytest
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys as Keyboard
from selenium.webdriver.support.expected_conditions import staleness_of
from selenium.webdriver.support.expected_conditions import visibility_of_element_located as visible
from selenium.webdriver.support.wait import WebDriverWait

from motet.events.segments import Segments
from motet.release.keys import Keys
from tests.serve.browsers import BROWSER, DRIVER, open_browser
from tests.serve.graphs import PATIENT, ask, publish, served, wait_until_exported

pytestmark = pytest.mark.slow

BURST = 6


@pytest.fixture(scope="module")
def release(draft, report, tmp_path_factory, ray_here):
    limits = {"per_key_s": 0.5, "per_user_s": 0.5, "burst": BURST}
    serving = {**PATIENT, "deadline_ms": 20_000.0, "keys": "required", "limits": limits}
    return publish(draft, report, tmp_path_factory.mktemp("keys"), serve=serving)


@pytest.fixture(scope="module")
def endpoint(release):
    with served(release) as address:
        yield address


@pytest.fixture
def key(release, request):
    """Makes keys by their scopes, whose buckets no other test has emptied."""
    keys, made = Keys(release.parent.parent), iter(range(100))

    def make(*scopes):
        return {"authorization": f"Bearer {keys.add(f'{request.node.name}-{next(made)}', scopes)}"}

    return make


CALLS = [
    ("POST", "/v1/recommend", {}, "recommend"), ("GET", "/v1/release", None, "recommend"),
    ("GET", "/v1/items", None, "recommend"), ("GET", "/openapi.json", None, "recommend"),
    ("POST", "/v1/events", {"user_id": "k", "item_id": "i01"}, "feedback"),
    ("POST", "/v1/items", {"id": "n1", "text": "grey car"}, "admin"), ("DELETE", "/v1/items/n1", None, "admin"),
    ("PATCH", "/v1/surfaces/home", {"weights": None}, "admin"),
]  # fmt: skip


@pytest.mark.parametrize(("method", "path", "body", "scope"), CALLS)
def test_a_call_needs_a_key_with_its_scope(endpoint, key, method, path, body, scope):
    status, headers, answer, _ = ask(endpoint, path, body, method=method)
    assert (status, headers["www-authenticate"]) == (401, "Bearer")
    assert answer["detail"][0]["type"] == "unauthorized"
    assert ask(endpoint, path, body, {"authorization": "Bearer nonsense"}, method=method)[0] == 401
    others = [one for one in ("recommend", "feedback", "admin") if one != scope]
    status, _, answer, _ = ask(endpoint, path, body, key(*others), method=method)
    assert (status, answer["detail"][0]["type"]) == (403, "forbidden")
    assert ask(endpoint, path, body, key(scope), method=method)[0] == 200


def test_without_a_key_not_even_the_body_is_looked_at(endpoint):
    assert ask(endpoint, "/v1/recommend", raw=b"{" * 1000)[0] == 401
    assert ask(endpoint, "/v1/recommend", raw=b"x" * 100_000)[0] == 401


@pytest.mark.parametrize("path", ["/", "/page/page.js", "/healthz"])
def test_health_and_the_page_need_none(endpoint, path):
    assert ask(endpoint, path)[0] == 200


def test_a_revoked_key_opens_nothing_from_then_on(endpoint, release):
    keys = Keys(release.parent.parent)
    opens = {"authorization": f"Bearer {keys.add('gone', ('recommend',))}"}
    assert ask(endpoint, "/v1/release", headers=opens)[0] == 200
    keys.revoke("gone")
    assert ask(endpoint, "/v1/release", headers=opens)[0] == 401


def test_a_key_that_asks_too_often_waits_and_others_do_not(endpoint, key):
    mine, other = key("recommend"), key("recommend")
    answers = [ask(endpoint, "/v1/release", headers=mine) for _ in range(BURST + 2)]
    assert [status for status, *_ in answers[:BURST]] == [200] * BURST
    status, headers, answer, _ = answers[-1]
    assert (status, answer["detail"][0]["type"]) == (429, "too_often")
    assert 1 <= int(headers["retry-after"]) <= 2
    assert ask(endpoint, "/v1/release", headers=other)[0] == 200


def test_a_user_who_asks_too_often_waits_whatever_key_is_used(endpoint, key):
    feedback = key("feedback")
    events = [{"user_id": "hasty", "item_id": "i01", "timestamp": number} for number in range(2 * BURST)]
    assert ask(endpoint, "/v1/events", events, feedback)[0] == 200
    status, headers, answer, _ = ask(endpoint, "/v1/events", events[0], feedback)
    assert (status, answer["detail"][0]["type"]) == (429, "too_often")
    assert 10 <= int(headers["retry-after"]) <= 14  # one token is at (1 + 6) / 0.5 s
    asked = {"user_id": "hasty"}
    assert ask(endpoint, "/v1/recommend", asked, key("recommend"))[0] == 429
    assert ask(endpoint, "/v1/explain?item=i01&user_id=hasty", headers=key("recommend"))[0] == 429
    assert ask(endpoint, "/v1/recommend", {"user_id": "calm"}, key("recommend"))[0] == 200
    assert ask(endpoint, "/v1/recommend", {}, key("recommend"))[0] == 200


def test_a_key_of_a_tenant_names_no_one_elses_users(endpoint, release):
    keys = Keys(release.parent.parent)
    bound = [{"authorization": f"Bearer {keys.add(f'tenant-{n}', ('recommend', 'feedback'), 'u0')}"} for n in range(2)]
    calls = [("/v1/recommend", {"user_id": "{}"}), ("/v1/explain?item=i01&user_id={}", None),
             ("/v1/events", {"user_id": "{}", "item_id": "i01"})]  # fmt: skip
    for path, body in calls:
        for user, expected in (("u03", 200), ("u13", 403), ("x", 403)):
            asked = None if body is None else {**body, "user_id": user}
            status, _, answer, _ = ask(endpoint, path.format(user), asked, bound[body is None])
            assert status == expected
            assert status == 200 or answer["detail"][0]["type"] == "forbidden"
    events = [{"user_id": user, "item_id": "i01", "event_id": f"of-{user}"} for user in ("u04", "u14")]
    assert ask(endpoint, "/v1/events", events, bound[1])[0] == 403  # none of them is kept
    assert ask(endpoint, "/v1/recommend", {}, bound[1])[0] == 200
    shown = ask(endpoint, "/v1/release", headers=bound[1])[2]["example_users"]
    assert all(user.startswith("u0") for user in shown)
    stored = {event.event_id for _, event in Segments(release.parent.parent / "events").read()}
    assert not {"of-u04", "of-u14"} & stored


def test_refusals_are_counted(endpoint, key):
    opens = key("recommend", "feedback")
    refused = [ask(endpoint, "/v1/recommend", {})[0], ask(endpoint, "/v1/recommend", {}, key("feedback"))[0]]
    events = [{"user_id": "eager", "item_id": "i01", "timestamp": number} for number in range(2 * BURST)]
    refused += [ask(endpoint, "/v1/events", events, opens)[0], ask(endpoint, "/v1/events", events[0], opens)[0]]
    refused += [ask(endpoint, "/v1/release", headers=opens)[0] for _ in range(BURST + 2)]
    assert refused[:4] == [401, 403, 200, 429]
    assert refused[-1] == 429
    reasons = [f'because="{reason}"' for reason in ("key", "scope", "key_rate", "user_rate")]
    wait_until_exported(["motet_refused_total"], reasons)


@pytest.mark.skipif(not (BROWSER and DRIVER), reason="apt-get install chromium chromium-driver")
def test_the_page_asks_for_the_key_and_uses_it(endpoint, key):
    browser = open_browser()
    try:
        browser.get(endpoint + "/")
        field = WebDriverWait(browser, 20).until(visible((By.ID, "key")))
        assert not browser.find_elements(By.CSS_SELECTOR, "#cards > *")
        field.send_keys("nonsense", Keyboard.ENTER)
        WebDriverWait(browser, 20).until(staleness_of(field))
        field = WebDriverWait(browser, 20).until(visible((By.ID, "key")))  # and asks again
        field.send_keys(key("recommend")["authorization"].removeprefix("Bearer "), Keyboard.ENTER)
        WebDriverWait(browser, 20).until(lambda one: one.find_elements(By.CSS_SELECTOR, "#cards > *"))
        assert not browser.find_element(By.ID, "key").is_displayed()
        assert browser.execute_script("return window.violations") == []
        assert browser.execute_script("return [localStorage.length, document.cookie]") == [0, ""]
    finally:
        browser.quit()
