"""Which key opens what, how often, and where an endpoint without keys may listen."""

import pytest

from motet.errors import ReleaseError
from motet.guard_settings import LimitSettings
from motet.recipe import Recipe
from motet.release.keys import Keys
from motet.serve_settings import ServeSettings
from serve.door import Guard, NotTheirs, TooOften, rule_of
from serve.gateway import app
from serve.meters import Meters
from serve.places import guard_of
from serve.rates import Rates
from serve.run import require_guarded

CALLS = [
    ("POST", "/v1/recommend", "recommend"), ("GET", "/v1/explain", "recommend"), ("GET", "/v1/items", "recommend"),
    ("GET", "/v1/items/i1/similar", "recommend"), ("GET", "/v1/release", "recommend"), ("GET", "/docs", "recommend"),
    ("GET", "/openapi.json", "recommend"), ("GET", "/nowhere", "recommend"), ("POST", "/v1/events", "feedback"),
    ("POST", "/v1/items", "admin"), ("POST", "/v1/items/", "admin"), ("DELETE", "/v1/items/i1", "admin"),
    ("PATCH", "/v1/surfaces/home", "admin"), ("GET", "/healthz", None), ("GET", "/", None),
    ("GET", "/page/page.js", None),
]  # fmt: skip


@pytest.mark.parametrize(("method", "path", "scope"), CALLS)
def test_each_call_has_its_scope(method, path, scope):
    rule = rule_of(method, path)
    assert (rule.scope if rule else None) == scope


def guard(folder, required=True, **limits):
    return Guard(Keys(folder), required, LimitSettings(**limits), Meters())


def test_a_key_opens_what_its_scopes_say_and_nothing_else(tmp_path):
    keys, one = Keys(tmp_path), guard(tmp_path)
    secrets = {scope: keys.add(scope, (scope,)) for scope in ("recommend", "feedback", "admin")}
    for method, path, scope in CALLS:
        for own, secret in secrets.items():
            refusal = one.refusal(method, path, f"Bearer {secret}")
            assert (refusal is None) == (scope in (None, own))
            assert refusal is None or (refusal.status, refusal.kind) == (403, "forbidden")
        for wrong in ("", "Bearer", "Bearer ", f"Basic {secrets['admin']}", "Bearer \xfc", secrets["admin"]):
            refusal = one.refusal(method, path, wrong)
            assert (refusal is None) == (scope is None)
            assert refusal is None or refusal.status == 401


def test_without_required_keys_only_changed_weights_need_one(tmp_path):
    one = guard(tmp_path, required=False)
    closed = [(method, path) for method, path, _ in CALLS if one.refusal(method, path, "") is not None]
    assert closed == [("PATCH", "/v1/surfaces/home")]


def test_keys_that_cannot_be_read_open_nothing(tmp_path):
    secret, one = Keys(tmp_path).add("me", ("admin",)), guard(tmp_path)
    Keys(tmp_path).path.write_text("{")
    assert one.refusal("POST", "/v1/items", f"Bearer {secret}").status == 401


def test_the_document_names_the_key_of_each_call():
    document = app.openapi()
    assert document["components"]["securitySchemes"]["key"]["scheme"] == "bearer"
    for path, methods in document["paths"].items():
        for method, call in methods.items():
            rule = rule_of(method.upper(), path)
            if rule is None:
                assert "security" not in call
                continue
            assert call["security"][-1] == {"key": [rule.scope]}
            assert ({} in call["security"]) != rule.always
            assert {"401", "403", "429"} <= call["responses"].keys()


def test_a_key_of_a_tenant_may_name_its_users_alone(tmp_path):
    keys, one = Keys(tmp_path), guard(tmp_path)
    bound, free = keys.add("acme", ("recommend",), "acme-"), keys.add("me", ("recommend",))
    assert one.refusal("POST", "/v1/recommend", f"Bearer {bound}") is None
    one.require_theirs(["acme-1", "acme-"])
    for user in ("acme", "acm", "", "other-acme-1", "ACME-1"):
        assert not one.may_name(user)
        with pytest.raises(NotTheirs):
            one.require_theirs(["acme-1", user])
    assert one.refusal("GET", "/healthz", "") is None  # the next call in the same task has no key
    one.require_theirs(["anyone"])
    assert one.refusal("POST", "/v1/recommend", f"Bearer {free}") is None
    one.require_theirs(["anyone"])


class Clock:
    """A clock that is set by hand."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_a_bucket_lets_a_burst_in_and_then_so_many_a_second():
    clock = Clock()
    rates = Rates(2.0, 3, clock)
    for _ in range(3):
        assert rates.wait_s(["a"]) == 0
        rates.spend({"a": 1})
    assert rates.wait_s(["a"]) == pytest.approx(0.5)
    assert rates.wait_s(["b"]) == 0
    assert rates.wait_s(["b", "a"]) == pytest.approx(0.5)
    clock.now += 0.5
    assert rates.wait_s(["a"]) == 0


def test_a_large_list_comes_in_and_its_debt_is_paid_off():
    clock = Clock()
    rates = Rates(2.0, 3, clock)
    rates.spend({"a": 500})  # 3 - 500 = -497, and one token is at (1 + 497) / 2
    assert rates.wait_s(["a"]) == pytest.approx(249.0)
    clock.now += 249
    assert rates.wait_s(["a"]) == 0


def test_full_buckets_are_forgotten():
    clock = Clock()
    rates = Rates(1.0, 2, clock)
    for name in range(50):
        rates.spend({str(name): 1})
    assert len(rates) == 50
    clock.now += 10
    rates.spend({"a": 1})
    assert len(rates) == 1


def test_no_limit_counts_nothing():
    rates = Rates(0.0, 1)
    rates.spend({"a": 1000})
    assert (rates.wait_s(["a"]), len(rates)) == (0.0, 0)


def test_of_several_users_all_are_let_in_or_none(tmp_path):
    one = guard(tmp_path, per_user_s=0.001, burst=2)
    one.admit({"a": 2})
    with pytest.raises(TooOften) as refused:
        one.admit({"b": 1, "a": 1})
    assert refused.value.retry_after_s == 1000
    one.admit({"b": 2})


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.8", "::1", "localhost"])
def test_this_machine_may_be_heard_without_keys(host):
    require_guarded(host, "none")


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.7", "shop.example"])
def test_others_may_not(host):
    require_guarded(host, "required")
    with pytest.raises(ReleaseError, match=r"serve.keys = none lets anyone in.*--keys required"):
        require_guarded(host, "none")


def test_a_limit_of_keys_needs_keys():
    ServeSettings.model_validate({"keys": "required", "limits": {"per_key_s": 1}})
    with pytest.raises(ValueError, match="per_key_s = 1 limits keys, and keys = none asks for none; set keys to req"):
        ServeSettings.model_validate({"limits": {"per_key_s": 1}})


def test_arguments_of_build_change_who_may_ask(tiny, tmp_path):
    recipe: Recipe = tiny.recipe
    release = tmp_path / "releases" / "tiny-0"
    assert guard_of({}, recipe, release) == ("none", {"per_key_s": 0.0, "per_user_s": 0.0, "burst": 20})
    found = guard_of({"keys": "required", "limits": {"per_key_s": 3}}, recipe, release)
    assert found == ("required", {"per_key_s": 3.0, "per_user_s": 0.0, "burst": 20})
    with pytest.raises(ReleaseError, match=r"argument serve.keys: Input should be 'none' or 'required'"):
        guard_of({"keys": "some"}, recipe, release)
    with pytest.raises(ReleaseError, match="in no workspace, where its keys would be"):
        guard_of({"keys": "required"}, recipe, tmp_path / "tiny-0")
