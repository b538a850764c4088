"""The command `worker`: does scheduled work for a state that several machines share."""

from __future__ import annotations

import asyncio
import threading
from datetime import datetime
from typing import TYPE_CHECKING

import click

from crmkit.commands.run import Run
from crmkit.commands.work import Done, check, report, show
from crmkit.errors import CrmkitError, UsageError
from crmkit.scheduling.task import Task
from crmkit.slices import Slice, run_slice

if TYPE_CHECKING:
    from crmkit.queueing import Order


@click.command()
@click.option(
    "--concurrency", "-c", type=click.IntRange(1, 64), default=4, show_default=True, help="Tasks at once."
)
@click.option(
    "--role", type=click.Choice(["all", "worker", "scheduler"]), default="all", show_default=True,
    help="Do tasks, or only look what is due, or both. One scheduler is enough; several do no harm.",
)  # fmt: skip
@click.option("--burst", is_flag=True, help="End once nothing is due and nothing waits.")
@click.option("--metrics-port", type=click.IntRange(0, 65535), help="Serve Prometheus metrics on 127.0.0.1.")
@click.pass_obj
def worker(run: Run, concurrency: int, role: str, burst: bool, metrics_port: int | None) -> None:
    """Do scheduled work, on as many machines as share a PostgreSQL state.

    Every minute looks which schedules are due (`crmkit schedule`), and does them in slices of
    some minutes; a CRM's limits hold over all workers together. What a worker left that was
    killed is taken up by another one. Ctrl-C or SIGTERM ends at the next page or batch, and
    leaves the rest to the others. Writes to the CRMs where a sync is due.

    Needs `pip install 'crmkit[queue]'`. On one machine `crmkit run --due` needs nothing.
    """
    session = run.open()
    url = session.state_url()
    if not url.startswith("postgresql"):
        raise UsageError(
            "workers need a state that several machines can share",
            hint='Set state = "postgresql+psycopg://user@host/db" in crmkit.toml, '
            "or let cron start `crmkit run --due` on this machine.",
        )
    try:
        from crmkit.queueing import Queue  # noqa: PLC0415 - needs an extra
    except ImportError as error:
        raise UsageError(
            "workers need a package that is not installed", hint="Install it: pip install 'crmkit[queue]'"
        ) from error
    asked = threading.Event()
    with session.state() as state:

        def work(task: Task, stop_at: datetime) -> Slice:
            own = run.another()
            try:
                check(own, task)
                if task.kind == "report":
                    return report(own)
                return run_slice(own, state, task, stop_at=stop_at, asked=asked)
            except CrmkitError as error:
                return Slice(error.exit_code, error=error)
            finally:
                for leave in own.leaving:
                    leave(state)
                own.observer.close()

        def told(order: Order, ended: Slice) -> None:
            show(run, Done(Task.parse(order.task), order.schedule, ended, 0.0))

        queue = Queue(state, url, work, told, session.clock.now)
        queue.set_up()
        serving = None
        if metrics_port is not None:
            from crmkit.observers.metrics import serve_metrics  # noqa: PLC0415 - needs an extra

            serving = serve_metrics(metrics_port, session, state)
        if not burst:
            run.terminal.say(f"Working, {concurrency} tasks at once. Ctrl-C ends at the next border.")
        try:
            asyncio.run(
                queue.run(
                    concurrency=concurrency,
                    schedules=role != "worker",
                    slices=role != "scheduler",
                    burst=burst,
                    asked=asked,
                )
            )
        finally:
            if serving is not None:
                serving.stop()
