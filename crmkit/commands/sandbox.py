"""Commands that run the sandbox."""

from __future__ import annotations

import signal
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from crmkit import workspace as workspaces
from crmkit.commands.run import Run
from crmkit.sandbox.app import VendorApp
from crmkit.sandbox.faults import FaultPlan
from crmkit.sandbox.server import VENDORS, Sandbox
from crmkit.workspace import LocalCrm


@click.group()
def sandbox() -> None:
    """Five CRMs on this machine, to rehearse with."""


def _known_profile(_context: click.Context, _option: click.Parameter, value: str) -> str:
    try:
        FaultPlan(value)
    except ValueError as error:
        raise click.BadParameter(str(error)) from error
    return value


@sandbox.command("up")
@click.argument("crms", nargs=-1, metavar="[CRM]...")
@click.option("--deals", type=click.IntRange(1), default=300, show_default=True, help="Deals in each CRM.")
@click.option("--seed", default=1, show_default=True, help="The same seed makes the same world again.")
@click.option(
    "--port-base", type=click.IntRange(0, 65_530), default=0,
    help="First port; the others follow. Default: free ports.",
)  # fmt: skip
@click.option(
    "--latency-ms", type=click.FloatRange(0), default=0.0, show_default=True, help="Delay of every answer."
)
@click.option(
    "--limits", type=click.Choice(["real", "off"]), default="real", show_default=True,
    help="Whether the CRMs' own rate limits apply.",
)  # fmt: skip
@click.option(
    "--faults", default="none", show_default=True, metavar="PROFILE", callback=_known_profile,
    help="Misbehave: storm, flaky, truncated, garbage, slow, expired, edits, and on writes: "
    "timeout-after-commit, commit-late, 5xx-before-commit, 5xx-after-commit; several with commas.",
)  # fmt: skip
@click.option(
    "--workspace", type=click.Path(path_type=Path, file_okay=False),
    help="Write a ready crmkit.toml and its secrets into this folder.",
)  # fmt: skip
@click.pass_obj
def sandbox_up(run: Run, /, crms: Sequence[str], workspace: Path | None, **options: Any) -> None:
    """Start the sandbox and serve until Ctrl-C.

    Prints the address and the (made-up) credentials of each CRM. Everything stays on this
    machine and in memory; nothing is sent anywhere.
    """
    box = Sandbox.seeded(list(crms) or list(VENDORS), **options)
    box.start()
    local = local_crms(box.apps)
    if workspace is not None:
        workspaces.write(workspace, local)
    if run.terminal.as_json:
        # One object per CRM and line, so that a program can read them as they come.
        for name, app in box.apps.items():
            described = {
                "crm": name,
                "base_url": app.base_url,
                "credentials": app.credentials,
                "connection": local[name].connection,
                "deals": len(app.world.deals),
            }
            run.terminal.line(described)
    else:
        rows = [
            [name, app.base_url, f"{len(app.world.deals):,}", _short(app.credentials)]
            for name, app in box.apps.items()
        ]
        run.terminal.table(("crm", "address", "deals", "credentials"), rows, right=[2])
    if workspace is not None:
        run.terminal.say(f"Workspace: {workspace}. Try `crmkit pull` there. Ctrl-C stops the sandbox.")
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    try:
        while not stop.wait(0.5):
            pass
    except KeyboardInterrupt:
        pass
    finally:
        box.stop()


def local_crms(apps: Mapping[str, VendorApp]) -> dict[str, LocalCrm]:
    """What a workspace needs to know of running sandbox CRMs."""
    return {
        name: LocalCrm(name, app.connection, app.credentials, app.settings.limits)
        for name, app in apps.items()
    }


def _short(credentials: dict[str, str]) -> str:
    return ", ".join(f"{key}={value}" for key, value in credentials.items())
