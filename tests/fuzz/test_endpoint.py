"""schemathesis against the endpoint's own OpenAPI: whatever the schema allows or forbids, no error of the server."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from motet.release.keys import Keys
from tests.chaos.rig import record
from tests.serve.graphs import ask, publish, served

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(900)]

LEAST_CASES = 5_000
REFUSALS = ["400", "401", "403", "404", "405", "413", "422", "429"]
"""What a request that breaks the schema may get: one may be too large before anybody looks at its schema."""
EXAMPLES = int(os.environ.get("MOTET_FUZZ_EXAMPLES", "330"))
"""Of each operation, in the phase that draws."""
CHECKS = ("not_a_server_error", "status_code_conformance", "content_type_conformance", "response_headers_conformance",
          "response_schema_conformance", "negative_data_rejection", "unsupported_method")  # fmt: skip


@pytest.fixture(scope="module")
def endpoint(draft, report, tmp_path_factory, ray_here):
    """(address, a key of all scopes); no request waits for another long enough to be refused."""
    serving = {"deadline_ms": 2000.0, "gateway": {"max_queued": 1000, "max_ongoing_requests": 64}}
    release = publish(draft, report, tmp_path_factory.mktemp("fuzz"), serve=serving)
    key = Keys(release.parent.parent).add("fuzz", ("recommend", "feedback", "admin"))
    with served(release, watched=True) as address:
        yield address, key


def test_no_case_makes_an_error_of_the_server_or_an_answer_beside_the_schema(endpoint, tmp_path):
    address, key = endpoint
    status, _, schema, _ = ask(address, "/openapi.json")
    assert status == 200
    assert len(schema["paths"]) >= 9
    (tmp_path / "schemathesis.toml").write_text(f"[checks]\nnegative_data_rejection.expected-statuses = {REFUSALS}\n")
    command = [
        str(Path(sys.executable).with_name("schemathesis")), "run", f"{address}/openapi.json",
        "--phases", "examples,coverage,fuzzing,stateful", "--checks", ",".join(CHECKS), "--max-examples", str(EXAMPLES),
        "--header", f"authorization: Bearer {key}", "--seed", "1", "--workers", "2", "--continue-on-failure",
        "--suppress-health-check", "all", "--report", "ndjson", "--report-dir", str(tmp_path), "--no-color",
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=850, check=False, cwd=tmp_path)
    said = done.stdout + done.stderr
    found = re.search(r"([\d,]+) (?:test cases )?generated", said) or re.search(r"Test cases:\s*\n?\s*([\d,]+)", said)
    assert found, said[-3000:]
    cases = int(found[1].replace(",", ""))
    figures = {"operations": _operations(schema), "cases": cases, "failures": 0 if done.returncode == 0 else "some"}
    record("A01", "schemathesis on the endpoint's own schema", "all phases", figures)
    assert done.returncode == 0, said[-6000:]
    assert cases >= LEAST_CASES
    assert ask(address, "/v1/recommend", {"user_id": "u03"})[0] == 200


def _operations(schema: dict) -> int:
    return sum(name in ("get", "post", "put", "patch", "delete") for path in schema["paths"].values() for name in path)


def test_a_fuzzed_endpoint_keeps_to_its_memory_of_json(endpoint):
    """Bodies that are no JSON of the schema in ways that generators do not draw."""
    address, key = endpoint
    headers = {"authorization": f"Bearer {key}", "content-type": "application/json"}
    hostile = [
        b"[" * 20_000, b'{"k": ' + b"9" * 5_000 + b"}", b'{"user_id": "\\ud800"}', b"\xff\xfe",
        b'{"k": 1e400}', b'{"k": NaN}', b'{"k": true}', b'{"k": "7"}', b"", b"null", b"[]", b'"x"',
        json.dumps({"history": ["x"] * 5_000}).encode(), json.dumps({"text": "\U0001f600" * 5_000}).encode(),
        b'{"k": 3, "k": 4, "secret": 1}',
    ]  # fmt: skip
    for body in hostile:
        status, _, answer, seconds = ask(address, "/v1/recommend", headers=headers, raw=body)
        assert status in (413, 422), (body[:40], status, answer)
        assert seconds < 2
        assert "Traceback" not in str(answer)
        assert "secret" not in str(answer)
