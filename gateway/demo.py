"""`gateway demo`: a whole call on one machine, with both neighbours of the gateway simulated around the real thing."""

import asyncio
import secrets
import tempfile
from typing import Any

from rich.console import Console
from rich.table import Table

from gateway import config_sources, telemetry
from gateway.server import Gateway, serving
from gateway.simulate import recording, softphone
from gateway.simulate.listener import Listener, Tally, new_secret
from gateway.simulate.show import EventPrinter

DELIVERY_S = 60.0
"""How long the last delivery may take after the call."""


async def run(*, speed: float, keep: bool) -> int:
    """Returns the exit code: 0 if every final was delivered, in order, and every signature holds."""
    telemetry.configure_logging("warning", "console")
    console = Console(highlight=False, soft_wrap=True)
    secret, auth_token = new_secret(), secrets.token_hex(16)
    listener = Listener(secret, on_event=EventPrinter().show)
    audio = recording.load_demo()
    with tempfile.TemporaryDirectory(prefix="gateway-demo-") as data_dir:
        async with listener.serve() as webhook_url:
            settings = config_sources.load(
                environ={},
                flags={
                    "port": 0,
                    "data_dir": data_dir,
                    "recording": {"enabled": keep},  # so that the console can play it
                    "twilio": {"auth_token": auth_token},
                    "webhook": {
                        "url": webhook_url,
                        "secret": secret,
                        "allow_private": True,
                        "events": ["*", "transcript.partial"],
                    },
                },
            )
            async with serving(settings) as gateway:
                console.print(f"gateway at {gateway.url}, webhook receiver at {webhook_url}; calling …\n")
                call = softphone.TwilioCall(
                    url=gateway.stream_url,
                    audio=audio,
                    speed=speed,
                    auth_token=auth_token,
                    parameters={"tenant": "demo"},
                )
                await softphone.place(call)
                faults = await _wait_for_deliveries(listener)
                faults += _faults(listener.tally, gateway)
                _summarise(console, listener.tally, faults)
                if keep:
                    await _stay_up(console, gateway, auth_token)
    return 1 if faults else 0


async def _wait_for_deliveries(listener: Listener) -> list[str]:
    try:
        async with asyncio.timeout(DELIVERY_S):
            await listener.wait_for_ends(1)
    except TimeoutError:
        return [f"the end of the call was not delivered within {DELIVERY_S:.0f} s"]
    return []


def _faults(tally: Tally, gateway: Gateway) -> list[str]:
    """What keeps this from being a good call."""
    faults = tally.faults()
    finals = _of_type(tally, "transcript.final")
    for ended in _of_type(tally, "call.ended"):
        if len(ended["conversation"]) != len(finals):
            faults.append(f"{len(ended['conversation'])} finals were made and {len(finals)} delivered")
        if not ended["complete"]:
            faults.append("not all audio was transcribed")
    if not finals:
        faults.append("nothing was recognised")
    return faults


def _of_type(tally: Tally, kind: str) -> list[dict[str, Any]]:
    return [event["data"] for event in tally.events if event["type"] == kind]


def _summarise(console: Console, tally: Tally, faults: list[str]) -> None:
    console.print()
    table = Table("speaker", "at", "said", "heard", title="what was said, and what the embedded recogniser heard")
    finals = sorted(_of_type(tally, "transcript.final"), key=lambda final: float(final["start_s"]))
    for turn in recording.demo_turns():
        heard = " ".join(
            final["text"]
            for final in finals
            if final["track"] == turn.track and turn.start_s - 0.5 <= final["start_s"] < turn.end_s
        )
        table.add_row("caller" if turn.track == "inbound" else "agent", f"{turn.start_s:.1f} s", turn.text, heard)
    console.print(table)
    console.print("The embedded recogniser is for trying out. Speech services hear telephone speech far better.\n")
    durable = sum(event["data"]["sequence"] is not None for event in tally.events)
    console.print(f"{durable} durable events, {len(finals)} of them finals; {tally.forged} bad signatures")
    for fault in faults:
        console.print(f"[red]{fault}[/]")
    if not faults:
        console.print("[green]every final was delivered, in order, and every signature holds[/]")


async def _stay_up(console: Console, gateway: Gateway, auth_token: str) -> None:
    console.print(f"\nstill up; see it in the console:  {gateway.console_url}")
    console.print(f"place another call:  gateway call FILE --url {gateway.stream_url} --auth-token {auth_token}")
    console.print("Ctrl-C ends it")
    await asyncio.Event().wait()
