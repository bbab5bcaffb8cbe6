"""Settings: every source, every fault at once, and no secret in any text."""

from pathlib import Path

import pytest

from gateway import config_sources
from gateway.errors import ConfigError

SECRET = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="


def faults(**environ: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        config_sources.load(environ={f"GATEWAY_{name}": value for name, value in environ.items()})
    return caught.value.faults


def test_flags_override_the_environment_which_overrides_the_file(tmp_path: Path) -> None:
    file = tmp_path / "gateway.toml"
    file.write_text('host = "127.0.0.2"\nport = 1\n[stt]\ndrain_s = 1\nbuffer_s = 9\n')
    settings = config_sources.load(
        file, {"GATEWAY_PORT": "2", "GATEWAY_STT__DRAIN_S": "2"}, {"stt": {"drain_s": 3}, "host": None}
    )
    assert (settings.host, settings.port, settings.stt.drain_s, settings.stt.buffer_s) == ("127.0.0.2", 2, 3, 9)


def test_the_environment_defines_profiles_by_name() -> None:
    settings = config_sources.load(
        environ={
            "GATEWAY_STT__DEFAULT": "pulse",
            "GATEWAY_STT__PROFILES__PULSE__KIND": "pulse-live",
            "GATEWAY_STT__PROFILES__PULSE__URL": "wss://stt.example.com/live",
        }
    )
    assert settings.stt.profiles["pulse"].kind == "pulse-live"
    assert settings.stt.profiles["local"].kind == "local"


def test_several_webhooks_come_from_the_file(tmp_path: Path) -> None:
    file = tmp_path / "gateway.toml"
    file.write_text(
        "".join(f'[[webhooks]]\nurl = "https://{name}.example.com/"\nsecret = "{SECRET}"\n' for name in "ab")
    )
    assert [each.url for each in config_sources.load(file, {}).endpoints] == [
        "https://a.example.com/",
        "https://b.example.com/",
    ]


def test_two_webhooks_with_one_url_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "gateway.toml"
    file.write_text(f'[[webhooks]]\nurl = "https://example.com/hidden"\nsecret = "{SECRET}"\n' * 2)

    with pytest.raises(ConfigError) as caught:
        config_sources.load(file, {})

    assert "two of webhooks have the same url" in str(caught.value)
    assert "hidden" not in str(caught.value)


def test_every_fault_is_reported_at_once_by_name() -> None:
    found = faults(PORT="99999", NO_SUCH="1", STT__DRAIN_S="-1", WEBHOOK__URL="ftp://example.com")
    assert [each.partition(":")[0] for each in found] == ["port", "webhook.url", "stt.drain_s", "no_such"]


@pytest.mark.parametrize(
    ("name", "value", "fault"),
    [
        ("WEBHOOK__URL", "ftp://example.com/", "must be an http:// or https:// URL"),
        ("WEBHOOK__URL", "https://user:pass@example.com/", "must not carry a user name or password"),
        ("WEBHOOK__EVENTS", '["call.strated"]', "unknown event type"),
        ("PUBLIC_URL", "https://example.com/?token=1", "must have no query"),
        ("STT__DEFAULT", "nowhere", "is not defined"),
        ("STT__PROFILES__P__KIND", "morse", "Input should be"),
        ("SPEECH_API__PROFILE", "nowhere", "is not defined"),
        ("SPEECH_API__BATCH_PROFILE", "nowhere", "is not defined"),
        ("POST_CALL__PROFILE", "nowhere", "is not defined"),
        ("TWILIO__THEN", "<Say>", "not well-formed TwiML"),
        ("TWILIO__THEN", "no verb at all", "must hold a verb"),
        ("HOST", "0.0.0.0", "twilio.auth_token is needed"),
        ("STT", "everything", "Input should be"),
        ("LIMITS__TRUSTED_PROXIES", '["10.0.0.0/33"]', "is not a network"),
        ("LIMITS__TRUSTED_PROXIES", '["proxy"]', "is not a network"),
        ("TLS__KEY", "key.pem", "of no use without certificate"),
        ("TLS__CLIENT_CA", "ca.pem", "of no use without certificate"),
        ("TWILIO__STREAM_TOKEN", "perhaps", "Input should be"),
        ("STT__DRAIN", "5", "stt.drain: there is no such setting; did you mean stt.drain_s?"),
        ("STT__PROFILES__MINE__ULR", "ws://x", "there is no such setting; did you mean stt.profiles.mine.url?"),
        ("COLOUR", "red", "colour: there is no such setting"),
    ],
)
def test_a_setting_that_cannot_work_is_refused(name: str, value: str, fault: str) -> None:
    assert any(fault in each for each in faults(**{name: value}))


BATCH = {
    "GATEWAY_STT__PROFILES__B__KIND": "pulse-batch",
    "GATEWAY_STT__PROFILES__B__URL": "https://stt.example.com/waves/v1/pulse/get_text",
}


@pytest.mark.parametrize("name", ["STT__DEFAULT", "SPEECH_API__PROFILE"])
def test_a_profile_for_recordings_is_refused_where_live_audio_comes(name: str) -> None:
    with pytest.raises(ConfigError, match="takes recordings, not live audio"):
        config_sources.load(environ=BATCH | {f"GATEWAY_{name}": "b"})


def test_a_profile_for_recordings_is_taken_where_recordings_come() -> None:
    environ = BATCH | {"GATEWAY_SPEECH_API__BATCH_PROFILE": "b", "GATEWAY_POST_CALL__PROFILE": "b"}
    assert config_sources.load(environ=environ).stt.profiles["b"].is_batch


def test_a_profile_for_recordings_has_an_http_address() -> None:
    with pytest.raises(ConfigError, match="url must be a http:// or https:// URL"):
        config_sources.load(environ=BATCH | {"GATEWAY_STT__PROFILES__B__URL": "wss://stt.example.com/"})


def test_listening_beyond_loopback_without_signatures_must_be_asked_for() -> None:
    assert config_sources.load(environ={"GATEWAY_HOST": "0.0.0.0", "GATEWAY_INSECURE": "true"}).insecure
    assert config_sources.load(environ={"GATEWAY_HOST": "0.0.0.0", "GATEWAY_TWILIO__AUTH_TOKEN": "t"}).host == "0.0.0.0"


@pytest.mark.parametrize("url", ["http://127.0.0.1:8090/", "http://10.0.0.1/", "http://[::1]/"])
def test_a_webhook_at_a_private_address_must_be_allowed(url: str) -> None:
    environ = {"GATEWAY_WEBHOOK__URL": url, "GATEWAY_WEBHOOK__SECRET": SECRET}
    with pytest.raises(ConfigError, match="allow_private"):
        config_sources.load(environ=environ)
    assert config_sources.load(environ=environ | {"GATEWAY_WEBHOOK__ALLOW_PRIVATE": "true"}).endpoints


def test_one_token_cannot_both_change_things_and_only_look() -> None:
    assert any("are the same" in each for each in faults(API_TOKEN="hunter2", API_READ_TOKEN="hunter2"))


def test_a_webhook_needs_a_secret() -> None:
    assert any("needs a secret" in each for each in faults(WEBHOOK__URL="https://example.com/"))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("WEBHOOK__SECRET", "whsec_hunter2!!"),
        ("WEBHOOK__SECRET", "hunter2"),
        ("WEBHOOK__SECRETT", "hunter2"),
        ("TWILIO__AUTH_TOKENN", "hunter2"),
        ("API_TOKEN", '["hunter2"]'),
    ],
)
def test_no_fault_repeats_a_secret(name: str, value: str) -> None:
    assert not any("hunter2" in each for each in faults(**{name: value}))


def test_neither_repr_nor_the_effective_settings_show_a_secret() -> None:
    settings = config_sources.load(
        environ={
            "GATEWAY_API_TOKEN": "hunter2",
            "GATEWAY_TWILIO__AUTH_TOKEN": "hunter2",
            "GATEWAY_STT__PROFILES__P__KIND": "pulse",
            "GATEWAY_STT__PROFILES__P__URL": "wss://stt.example.com/",
            "GATEWAY_STT__PROFILES__P__API_KEY": "hunter2",
        }
    )
    assert "hunter2" not in repr(settings)
    assert "hunter2" not in str(config_sources.effective(settings))


@pytest.mark.parametrize("text", ["not toml", "[stt\n", "\xff"])
def test_a_file_that_is_not_toml_is_a_fault(tmp_path: Path, text: str) -> None:
    file = tmp_path / "gateway.toml"
    file.write_text(text, encoding="latin-1")
    with pytest.raises(ConfigError, match="not TOML"):
        config_sources.load(file, {})


def test_a_missing_file_is_a_fault(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="No such file"):
        config_sources.load(tmp_path / "none.toml", {})


def test_assignments_make_a_tree_and_lists_are_json() -> None:
    assert config_sources.assigned(["stt.drain_s=5", 'webhook.events=["call.ended"]', "stt.default=local"]) == {
        "stt": {"drain_s": "5", "default": "local"},
        "webhook": {"events": ["call.ended"]},
    }


def test_an_assignment_without_a_value_is_a_fault() -> None:
    with pytest.raises(ConfigError):
        config_sources.assigned(["stt.drain_s"])


def test_the_readme_has_a_row_for_every_setting_as_it_is() -> None:
    readme = (Path(__file__).parent.parent / "README.md").read_text()
    assert [row for row in config_sources.table().splitlines() if row not in readme] == []


def test_mutual_tls_is_enough_to_listen_beyond_loopback() -> None:
    tls = {"certificate": "server.pem", "client_ca": "ca.pem"}
    assert config_sources.load(environ={}, flags={"host": "0.0.0.0", "tls": tls}).host == "0.0.0.0"
    with pytest.raises(ConfigError, match="anybody could place calls"):
        config_sources.load(environ={}, flags={"host": "0.0.0.0", "tls": {"certificate": "server.pem"}})
