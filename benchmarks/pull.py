"""Measure a pull of many deals from each sandbox CRM: requests, seconds, peak memory.

    python benchmarks/pull.py [--deals 100000] [--latency-ms 0 80] [CRM...]

The sandbox runs in a process of its own, the client in another one, as they would in
life. What is read is what a report needs: pipelines, owners and deals with their links.
Figures of one run are to be compared with each other, not with those of another machine.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from crmkit.model import Kind
from crmkit.session import Session, full_pipe
from crmkit.sync.pull import Pull

CRMS = ("hubspot", "zoho", "copper", "bitrix24", "close")


def main() -> None:
    """Measure and print one Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("crms", nargs="*", metavar="CRM", default=[])
    parser.add_argument("--deals", type=int, nargs="+", default=[100_000])
    parser.add_argument("--latency-ms", type=float, nargs="+", default=[0.0, 80.0])
    parser.add_argument("--limits", choices=["off", "real"], default="off")
    parser.add_argument("--client", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.client:
        _client(Path(options.client), options.crms[0])
        return
    print("| CRM | deals | latency | start | requests | seconds | CPU | peak memory | waited |", flush=True)
    print("| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |", flush=True)
    for crm in options.crms or CRMS:
        for deals in options.deals:
            for latency in options.latency_ms:
                _measure(crm, deals, latency, options.limits)


def _measure(crm: str, deals: int, latency: float, limits: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        started = time.monotonic()
        server = subprocess.Popen(
            [
                sys.executable, "-m", "crmkit.cli", "-q", "--json", "sandbox", "up", crm,
                "--deals", str(deals), "--latency-ms", str(latency), "--limits", limits,
                "--workspace", folder,
            ],
            stdout=subprocess.PIPE,
            text=True,
        )  # fmt: skip
        try:
            assert server.stdout is not None
            if not server.stdout.readline():
                raise SystemExit(f"the sandbox of {crm} did not start")
            ready = time.monotonic() - started
            done = subprocess.run(
                [sys.executable, __file__, crm, "--client", folder],
                stdout=subprocess.PIPE,
                text=True,
                check=True,
            )
        finally:
            server.terminate()
            server.wait()
    found = json.loads(done.stdout)
    if found["error"] or found["deals"] < deals * 0.9:
        raise SystemExit(f"{crm}: {found}")
    cells = (
        crm,
        f"{found['deals']:,}",
        f"{latency:.0f} ms",
        f"{ready:.1f} s",
        f"{found['requests']:,}",
        f"{found['seconds']:.1f}",
        f"{found['cpu']:.1f} s",
        f"{found['peak_mb']:.0f} MB",
        f"{found['waited']:.0f} s",
    )
    print(f"| {' | '.join(cells)} |", flush=True)


def _client(folder: Path, crm: str) -> None:
    session = Session.open(folder / "crmkit.toml")
    with session.state() as state:
        connector = session.connect(crm)
        started, cpu = time.monotonic(), time.process_time()
        with full_pipe():
            result = Pull(state, connector, kinds=(Kind.PIPELINE, Kind.OWNER, Kind.DEAL)).run()
        seconds, cpu = time.monotonic() - started, time.process_time() - cpu
    json.dump(
        {
            "deals": result.progress.records.get(Kind.DEAL, 0),
            "requests": result.requests,
            "seconds": seconds,
            "cpu": cpu,
            "waited": result.waited_seconds,
            "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,  # kilobytes on Linux
            "error": str(result.error) if result.error else None,
        },
        sys.stdout,
    )


if __name__ == "__main__":
    main()
