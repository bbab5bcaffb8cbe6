"""`GET /api/capabilities` tells the truth about every route."""

from pathlib import Path
from typing import Any

import aiohttp
import pytest

from gateway.server import serving
from gateway.speech_api.capabilities import STREAMING, recorded_route, streaming_route
from gateway.speech_api.routes import ROUTES
from tests.support.whole_gateway import FAST_ENGINE, settings


def test_every_streaming_route_is_described() -> None:
    assert {name for name, _ in ROUTES.values()} == STREAMING.keys()


@pytest.mark.parametrize("kind", ["local", "pulse-live", "soniox"])
@pytest.mark.parametrize("name", sorted(STREAMING))
def test_no_parameter_is_both_honoured_and_not(name: str, kind: str) -> None:
    route = streaming_route("/x", name, kind)
    assert not set(route["honoured"]) & set(route["accepted_not_honoured"])


def test_the_engine_behind_decides_over_the_language() -> None:
    assert "language" in streaming_route("/x", "pulse", "local")["accepted_not_honoured"]
    assert "language" in streaming_route("/x", "pulse", "pulse-live")["honoured"]


def test_speakers_are_told_apart_by_batch_services_only() -> None:
    assert "diarize" in recorded_route("/x", "pulse-batch", is_unified=False)["honoured"]
    assert "diarize" in recorded_route("/x", "pulse-pro-batch", is_unified=False)["accepted_not_honoured"]
    assert "diarize" in recorded_route("/x", "local", is_unified=False)["accepted_not_honoured"]


async def test_the_page_lists_every_route_and_wants_the_token(tmp_path: Path) -> None:
    async with serving(settings(tmp_path), engine=FAST_ENGINE) as gateway, aiohttp.ClientSession() as session:
        async with session.get(gateway.url + "/api/capabilities") as refused:
            assert refused.status == 401
        headers = {"Authorization": f"Bearer {gateway.api_token}"}
        async with session.get(gateway.url + "/api/capabilities", headers=headers) as answer:
            body: dict[str, Any] = await answer.json()
    listed = {(route["method"], route["path"]) for route in body["routes"]}
    assert {("GET", path) for path in ROUTES} <= listed
    assert {("POST", "/waves/v1/pulse/get_text"), ("POST", "/waves/v1/stt/")} <= listed
