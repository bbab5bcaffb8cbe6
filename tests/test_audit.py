"""The audit of dependencies: what is known fails it, what cannot be known is called so; and every lock is exact."""

import json
import re
import subprocess
import sys
import threading
import tomllib
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.support import environments

ROOT = Path(__file__).parent.parent
SCRIPT = ROOT / "scripts" / "audit"
TOOL = """#!{python}
import json, sys
service = sys.argv[sys.argv.index("--vulnerability-service") + 1]
answer = json.loads({answers!r}).get(service)
if answer is None:
    sys.exit("Traceback: no such host")
names = {{line.split("==")[0] for at, word in enumerate(sys.argv) if word == "-r"
         for line in open(sys.argv[at + 1]).read().split()}}
print(json.dumps({{"dependencies": [package for package in answer if package["name"] in names]}}))
"""
GOOD = {"name": "aiohttp", "version": "1.0", "vulns": []}
BAD = {"name": "idna", "version": "2.0", "vulns": [{"id": "PYSEC-2026-1", "fix_versions": ["2.1"]}]}
UNKNOWN = {"name": "aiohttp", "skip_reason": "not found on PyPI"}

pytestmark = pytest.mark.skipif(not SCRIPT.exists(), reason="the scripts are not beside these tests")


def audit(lock: Path, *arguments: str) -> tuple[int, str]:
    done = subprocess.run([sys.executable, SCRIPT, lock, *arguments], capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr


@pytest.fixture
def lock(tmp_path: Path) -> Path:
    path = tmp_path / "some.lock"
    path.write_text("aiohttp==1.0\nidna==2.0\n")
    return path


def tool(folder: Path, **answers: object) -> str:
    """A pip-audit that knows these answers of its services; the others it does not reach."""
    path = folder / "pip-audit"
    path.write_text(TOOL.format(python=sys.executable, answers=json.dumps(answers)))
    path.chmod(0o755)
    return str(path)


def test_a_known_vulnerability_fails_it_and_is_named(lock: Path, tmp_path: Path) -> None:
    code, text = audit(lock, "--tool", tool(tmp_path, pypi=[GOOD, BAD]))
    assert code == 1
    assert "vulnerable: idna 2.0: PYSEC-2026-1; fixed in 2.1" in text


def test_without_a_known_vulnerability_it_is_good(lock: Path, tmp_path: Path) -> None:
    code, text = audit(lock, "--tool", tool(tmp_path, pypi=[GOOD]))
    assert (code, text) == (0, "audited 1 packages against pypi: 0 known to be vulnerable\n")


def test_an_index_that_knows_no_package_counts_as_no_database_and_the_next_is_asked(lock: Path, tmp_path: Path) -> None:
    code, text = audit(lock, "--tool", tool(tmp_path, pypi=[UNKNOWN], osv=[GOOD, BAD]))
    assert code == 1
    assert "against osv" in text


@pytest.mark.parametrize("answers", [{}, {"pypi": [UNKNOWN]}], ids=["unreachable", "a mirror"])
def test_without_a_database_it_says_that_nothing_was_audited(
    answers: dict[str, object], lock: Path, tmp_path: Path
) -> None:
    code, text = audit(lock, "--tool", tool(tmp_path, **answers))
    assert (code, text) == (0, "not audited: no advisory database reachable (asked: pypi, osv)\n")


def test_packages_that_the_database_does_not_know_are_named(lock: Path, tmp_path: Path) -> None:
    _, text = audit(lock, "--tool", tool(tmp_path, pypi=[GOOD, {**UNKNOWN, "name": "idna"}]))
    assert "not audited: idna" in text


# ── the real tool against a database of our own ──────────────────────────────────────────────────────────────────


class _Database(BaseHTTPRequestHandler):
    """OSV's `POST /v1/query`, with one advisory."""

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        package = asked["package"]["name"]
        advisory = {
            "id": "PYSEC-2026-2",
            "modified": "2026-01-01T00:00:00Z",
            "published": "2026-01-01T00:00:00Z",
            "summary": "made up for a test",
            "affected": [
                {
                    "package": {"name": "idna", "ecosystem": "PyPI"},
                    "ranges": [{"type": "ECOSYSTEM", "events": [{"introduced": "0"}, {"fixed": "2.1"}]}],
                }
            ],
        }
        body = json.dumps({"vulns": [advisory]} if package == "idna" else {}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_arguments: object) -> None:
        pass


@pytest.fixture
def database() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), _Database) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/v1/query"
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.timeout(300)
def test_the_real_tool_finds_an_advisory_in_a_real_database(database: str, lock: Path) -> None:
    real = environments.python_of("audit").parent / "pip-audit"
    code, text = audit(lock, "--tool", str(real), "--osv-url", database)
    assert code == 1, text
    assert "vulnerable: idna 2.0: PYSEC-2026-2; fixed in 2.1" in text
    assert "audited 2 packages" in text


# ── locks ────────────────────────────────────────────────────────────────────────────────────────────────────────

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"] if SCRIPT.exists() else {}


def names(lock: str) -> set[str]:
    return {re.split(r"[=<>~!\[ ;]", line)[0].lower() for line in (ROOT / lock).read_text().splitlines()}


@pytest.mark.parametrize("lock", sorted(path.name for path in ROOT.glob("requirements*.lock")))
def test_a_lock_holds_exact_versions_only(lock: str) -> None:
    inexact = [
        line for line in (ROOT / lock).read_text().splitlines() if not re.match(r"^[\w.-]+==[\w.]+( ; |$)", line)
    ]
    assert inexact == []


def test_each_dependency_has_a_lower_and_an_upper_bound_and_is_locked() -> None:
    optional = [each for group in PROJECT["optional-dependencies"].values() for each in group]
    for wanted, lock in ((PROJECT["dependencies"], "requirements.lock"), (optional, "requirements-test.lock")):
        for each in wanted:
            requirement = each.partition(";")[0]
            assert re.fullmatch(r"[\w.-]+>=[\w.]+,<[\w.]+\s*", requirement), each
            assert requirement.partition(">")[0].lower() in names(lock)
