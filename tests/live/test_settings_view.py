"""The effective settings, as the console gets them."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from gateway import config_sources
from gateway.config import Settings
from gateway.live.access import Access
from gateway.live.settings_view import Setting, SettingsView, rows

TOKEN = "a-token-of-this-gateway"
KEY = "a-key-of-the-speech-service"
SECRET = "whsec_" + "c2VjcmV0" * 4
FILE = f"""
port = 9000
drain_timeout_s = 1

[stt]
default = "pulse"
drain_s = 3

[stt.profiles.pulse]
kind = "pulse"
url = "wss://stt.example.com/v1?api_key={KEY}"
options = {{ model = "two", password = "{KEY}" }}

[[webhooks]]
url = "https://one.example.com/hook?token={KEY}"
secret = "{SECRET}"

[[webhooks]]
url = "https://two.example.com/hook"
secret = "{SECRET}"
timeout_s = 5
"""


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    file = tmp_path / "gateway.toml"
    file.write_text(FILE)
    environ = {
        "GATEWAY_API_TOKEN": TOKEN,
        "GATEWAY_STT__DRAIN_S": "4",
        "GATEWAY_DRAIN_TIMEOUT_S": "2",
        "GATEWAY_STT__PROFILES__PULSE__OPTIONS__LAYOUT": "x",
    }
    return config_sources.load(file, environ, flags={"port": 9001, "host": None})


def by_name(settings: Settings) -> dict[str, Setting]:
    return {row.name: row for row in rows(settings, config_sources.effective(settings))}


@pytest.mark.parametrize(
    ("name", "value", "default", "origin"),
    [
        ("host", "127.0.0.1", "127.0.0.1", "default"),
        ("port", 9001, 8080, "command line"),
        ("drain_timeout_s", 2.0, 30.0, "environment"),
        ("stt.default", "pulse", "local", "file"),
        ("stt.drain_s", 4.0, 10.0, "environment"),
        ("stt.profiles.pulse.kind", "pulse", None, "file"),
        ("stt.profiles.local.kind", "local", None, "default"),
        ("webhooks.1.timeout_s", 5.0, 15.0, "file"),
        ("data_dir", "data", "data", "default"),
        ("limits.trusted_proxies", [], (), "default"),
    ],
)
def test_a_setting_tells_its_value_and_where_it_comes_from(
    settings: Settings, name: str, value: Any, default: Any, origin: str
) -> None:
    row = by_name(settings)[name]
    assert (row.value, row.default, row.origin) == (value, default, origin)


def test_a_table_given_by_several_has_the_strongest_origin(settings: Settings) -> None:
    assert by_name(settings)["stt.profiles.pulse.options"].origin == "environment"


def test_every_setting_has_a_meaning(settings: Settings) -> None:
    assert [row.name for row in by_name(settings).values() if not row.description] == []


def test_variables_are_named_where_there_are_any(settings: Settings) -> None:
    found = by_name(settings)
    assert found["stt.profiles.pulse.url"].environment == "GATEWAY_STT__PROFILES__PULSE__URL"
    assert found["webhooks.0.url"].environment is None


def test_all_settings_of_the_tree_are_there_once(settings: Settings) -> None:
    names = [row.name for row in rows(settings, config_sources.effective(settings))]
    assert len(names) == len(set(names))
    assert {name.partition(".")[0] for name in names} == set(config_sources.effective(settings))


def test_what_was_not_loaded_from_anywhere_is_all_default() -> None:
    assert {row.origin for row in by_name(Settings()).values()} == {"default"}


@asynccontextmanager
async def served(settings: Settings) -> AsyncIterator[tuple[str, aiohttp.ClientSession]]:
    app = web.Application()
    SettingsView(settings, Access(TOKEN)).add_to(app)
    headers = {"Authorization": f"Bearer {TOKEN}"}
    async with TestServer(app, host="127.0.0.1") as server, aiohttp.ClientSession(headers=headers) as session:
        yield str(server.make_url("")), session


async def test_the_settings_are_those_that_gateway_config_shows(settings: Settings) -> None:
    async with served(settings) as (url, session), session.get(f"{url}/api/settings") as answer:
        assert await answer.json() == json.loads(json.dumps(config_sources.effective(settings)))


@pytest.mark.parametrize("path", ["/api/settings", "/api/settings/rows"])
async def test_no_secret_is_among_them(settings: Settings, path: str) -> None:
    async with served(settings) as (url, session), session.get(url + path) as answer:
        text = await answer.text()
    assert [secret for secret in (TOKEN, KEY, SECRET) if secret in text] == []
    assert "**********" in text


@pytest.mark.parametrize("path", ["/api/settings", "/api/settings/rows"])
async def test_strangers_see_no_settings(settings: Settings, path: str) -> None:
    wrong = {"Authorization": "Bearer wrong"}
    async with served(settings) as (url, session), session.get(url + path, headers=wrong) as answer:
        assert answer.status == 401
