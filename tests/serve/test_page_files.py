"""The page's files: their headers, what they may contain, and that nothing else is served."""

import re

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from serve.page_files import FOLDER, POLICY, add_page

NAMES = sorted(path.name for path in FOLDER.iterdir())


@pytest.fixture(scope="module")
def client():
    app = FastAPI()
    add_page(app)
    with TestClient(app) as one:
        yield one


@pytest.mark.parametrize("path", ["/", *(f"/page/{name}" for name in NAMES)])
def test_each_file_comes_with_its_headers(client, path):
    answer = client.get(path)
    assert answer.status_code == 200
    assert answer.headers["content-security-policy"] == POLICY
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["cache-control"] == "no-cache"
    again = client.get(path, headers={"if-none-match": answer.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    assert again.headers["content-security-policy"] == POLICY
    head = client.head(path)
    assert (head.status_code, head.content, head.headers["etag"]) == (200, b"", answer.headers["etag"])


def test_the_policy_allows_own_files_only():
    assert "default-src 'none'" in POLICY
    assert "frame-ancestors 'none'" in POLICY
    assert "require-trusted-types-for 'script'" in POLICY
    assert not re.search(r"unsafe|\*|https?:|data:", POLICY)


@pytest.mark.parametrize(
    "path", ["/page/", "/page/none.js", "/page/..%2frun.py", "/page/../run.py", "/page//etc/passwd", "/page/%00"]
)
def test_nothing_else_is_served(client, path):
    assert client.get(path).status_code == 404


@pytest.mark.parametrize("name", NAMES)
def test_files_are_small_and_make_no_markup(name):
    text = (FOLDER / name).read_text()
    assert len(text.splitlines()) <= 200
    assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(|new Function", text)
    assert set(re.findall(r"https?://[^\s\"')]+", text)) <= {"http://www.w3.org/2000/svg"}


def test_the_page_has_no_inline_scripts_and_styles():
    text = (FOLDER / "index.html").read_text()
    assert not re.search(r"<style|\sstyle=|\son[a-z]+=", text)
    assert re.findall(r"<script[^>]*>", text) == ['<script type="module" src="page/page.js">']
