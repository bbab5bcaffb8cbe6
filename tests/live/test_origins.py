"""Which addresses are our own."""

from urllib.parse import urljoin, urlsplit

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gateway.live.origins import hostname, is_own, local_path


@pytest.mark.parametrize(
    "path", ["/", "/calls", "/calls/call_1?t=12.5", "/calls?q=a//b&next=//c", "/settings?q=%20a#top"]
)
def test_a_path_of_ours_is_kept(path: str) -> None:
    assert local_path(path) == path


@pytest.mark.parametrize(
    "there",
    [
        "",
        "calls",
        "https://evil.example/",
        "//evil.example/",
        "///evil.example",
        "/\\evil.example",
        "\\\\evil.example",
        "/\t/evil.example",
        "/\n/evil.example",
        "/ /evil.example",
        "\x00//evil.example",
        "/..//evil.example",
        "/.//evil.example",
        "/calls//evil.example",
        "javascript:alert(1)",
        "/calls\r\nSet-Cookie: a=b",
        "/login",
        "/login?next=/login",
        "/logout",
    ],
)
def test_whatever_is_more_than_a_path_leads_to_the_first_page(there: str) -> None:
    assert local_path(there) == "/"


@given(st.text(st.sampled_from("/\\.:@?#%\t\n abhtps2fF5c"), max_size=20))
@example("/%2f/evil.example")
@example("/%5cevil.example")
def test_no_text_leads_to_another_host(text: str) -> None:
    there = urlsplit(urljoin("http://gateway.example/login", local_path(text)))
    assert (there.scheme, there.netloc) == ("http", "gateway.example")


@pytest.mark.parametrize(
    ("origin", "host"),
    [
        ("http://127.0.0.1:8080", "127.0.0.1:8080"),
        ("https://gw.example.com", "gw.example.com"),
        ("https://gw.example.com", "gw.example.com:443"),
        ("https://GW.example.com", "gw.EXAMPLE.com"),
        ("http://[::1]:8080", "[::1]:8080"),
        ("https://gw.example.com/calls?x=1", "gw.example.com"),
        ("https://public.example.com", "gateway:8080"),
    ],
)
def test_the_host_that_was_asked_and_the_public_one_are_our_own(origin: str, host: str) -> None:
    assert is_own(origin, host, "https://public.example.com")


@pytest.mark.parametrize(
    "origin",
    [
        "",
        "null",
        "https://evil.example",
        "http://127.0.0.1:3000",
        "http://127.0.0.1",
        "http://127.0.0.1.evil.example:8080",
        "http://127.0.0.1:8080@evil.example",
        "http://evil.example/http://127.0.0.1:8080",
        "http://public.example.com",
        "ftp://127.0.0.1:8080",
        "http://[",
        "http://127.0.0.1:notaport",
    ],
)
def test_no_other_origin_is_our_own(origin: str) -> None:
    assert not is_own(origin, "127.0.0.1:8080", "https://public.example.com")


def test_without_a_public_url_only_the_host_counts() -> None:
    assert not is_own("https://public.example.com", "127.0.0.1:8080", None)


@pytest.mark.parametrize(
    ("host", "name"), [("GW.example:80", "gw.example"), ("[::1]:8080", "::1"), ("", None), ("[", None)]
)
def test_the_name_of_a_host(host: str, name: str | None) -> None:
    assert hostname(host) == name
