"""Slices of work on a queue in the PostgreSQL that holds the state, for workers on several machines.

The queue (Procrastinate) only decides when and where. Who may work is said by the engine's own
leases, what is left by its cursors and journal, and who runs a tick by the schedule's row; so a
job that is delivered twice, late or after a crash does no harm (DESIGN 9).
"""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any

import procrastinate
import sqlalchemy as sa
from procrastinate import exceptions
from sqlalchemy.engine import make_url

from crmkit.errors import Busy
from crmkit.scheduling.task import Task
from crmkit.slices import Slice
from crmkit.sync import schedules_table
from crmkit.sync.state import State

SLICE = timedelta(minutes=5)
BUSY_PAUSE_SECONDS = 60.0
PULL_PAUSE_SECONDS = 5.0
HEARTBEAT_SECONDS = 10.0
STALLED_SECONDS = 45.0
_QUEUE, _HOUSEKEEPING = "slices", "housekeeping"
_SETTING_UP = 0x71756575  # any number: advisory locks have no names


@dataclass(frozen=True, slots=True)
class Order:
    """A slice that somebody shall do.

    Attributes:
        task: What, as `Task` writes it.
        schedule: The schedule that it is for; `None` if a person ordered it.
        tick: The tick of that schedule, as ISO 8601.
        begun: Whether a slice of it was done before, so that the tick is claimed already.
    """

    task: str
    schedule: str | None = None
    tick: str | None = None
    begun: bool = False

    @property
    def lock(self) -> str:
        """One order of a kind waits in the queue at a time; what goes on does not wait for a new tick."""
        return f"{self.task} again" if self.begun else self.task


def after(order: Order, ended: Slice) -> tuple[Order, float] | None:
    """What is ordered next after a slice, and in how many seconds; `None` if it is done.

    Somebody who holds the lease ends a fresh tick: he does it already. Work that was begun is
    waited for: its former holder may be dead, and his lease runs out. A sync waits too while
    somebody only pulls one of its members.
    """
    again = Order(order.task, order.schedule, order.tick, begun=True)
    if ended.more:
        return again, 0.0
    if isinstance(ended.error, Busy):
        if order.task.startswith("sync:") and ended.error.lease.startswith("pull:"):
            return again, PULL_PAUSE_SECONDS  # only one of its members is being read
        if order.begun:
            return again, BUSY_PAUSE_SECONDS
    return None


class Queue:
    """The queue of one state store.

    Args:
        state: The open store; on PostgreSQL.
        url: Its address with the password.
        work: Does one slice; called in a thread of its own.
        told: Called with the last slice of each order.
    """

    def __init__(
        self,
        state: State,
        url: str,
        work: Callable[[Task, datetime], Slice],
        told: Callable[[Order, Slice], None],
        now: Callable[[], datetime],
    ) -> None:
        self._state, self._work, self._told, self._now = state, work, told, now
        self.schema = _schema(state)
        self.app = procrastinate.App(
            connector=procrastinate.PsycopgConnector(
                conninfo=_conninfo(url), kwargs={"options": f"-c search_path={self.schema}"}
            )
        )
        self._pool: ThreadPoolExecutor | None = None
        self._slice = self.app.task(name="slice", queue=_QUEUE)(self._do)
        self._tick = self.app.task(name="tick", queue=_HOUSEKEEPING)(self._enqueue_due)
        self._rescue = self.app.task(name="rescue", queue=_HOUSEKEEPING)(self._rescue_stalled)

    def set_up(self) -> None:
        """Make the queue's own schema, unless it is there; several workers may do so at once."""
        with self._state.write() as db:
            db.execute(sa.select(sa.func.pg_advisory_xact_lock(_SETTING_UP)))
            there = db.execute(sa.select(sa.func.to_regclass(f"{self.schema}.procrastinate_jobs"))).scalar()
            if there is not None:
                return
            quoted = db.dialect.identifier_preparer.quote(self.schema)
            before = db.execute(sa.text("SHOW search_path")).scalar_one()
            db.exec_driver_sql(f"CREATE SCHEMA IF NOT EXISTS {quoted}")
            db.exec_driver_sql(f"SET LOCAL search_path TO {quoted}")
            sql = self.app.schema_manager.get_schema()
            raw: Any = db.connection.cursor()
            raw.execute(sql)
            db.exec_driver_sql(f"SET LOCAL search_path TO {before}")

    async def order(self, order: Order, seconds: float = 0.0) -> bool:
        """Put an order into the queue; whether it was not there already."""
        task = self._slice.configure(
            queueing_lock=order.lock, schedule_in={"seconds": int(seconds)} if seconds else None
        )
        try:
            await task.defer_async(**asdict(order))
        except exceptions.AlreadyEnqueued:
            return False
        return True

    async def _enqueue_due(self, timestamp: int = 0) -> None:
        """Order every tick that is due. The worker that gets it claims it, not who orders it."""
        del timestamp
        for order in await asyncio.to_thread(self._due):
            await self.order(order)

    def _due(self) -> list[Order]:
        now, stored = self._now(), schedules_table.load(self._state)
        left = schedules_table.abandoned(self._state, stored, now)
        orders = [
            Order(str(one.schedule.what), one.schedule.name, one.last_due.isoformat(), begun=True)
            for one in left
            if schedules_table.retake(self._state, one, now)
        ]
        return orders + [
            Order(str(one.schedule.what), one.schedule.name, tick.isoformat())
            for one, tick in schedules_table.waiting([one for one in stored if one not in left], now)
        ]

    async def _rescue_stalled(self, timestamp: int = 0) -> None:
        """Put back what a worker left that gives no sign of life any more."""
        del timestamp
        jobs = await self.app.job_manager.get_stalled_jobs(seconds_since_heartbeat=STALLED_SECONDS)
        for job in jobs:
            if job.task_name == self._slice.name:
                kept: Mapping[str, Any] = {**job.task_kwargs, "begun": True}
                await self.order(Order(**kept))
                await self.app.job_manager.finish_job(
                    job, status=procrastinate.jobs.Status.FAILED, delete_job=False
                )
            else:
                await self.app.job_manager.retry_job(job)

    async def _do(self, **kwargs: Any) -> None:
        """Do one slice, and order what is left of it."""
        order = Order(**kwargs)
        loop = asyncio.get_running_loop()
        ended = await loop.run_in_executor(self._pool, self._slice_of, order)
        if ended is None:
            return
        further = after(order, ended)
        if further is not None:
            await self.order(*further)

    def _slice_of(self, order: Order) -> Slice | None:
        now = self._now()
        tick = datetime.fromisoformat(order.tick) if order.tick else None
        fresh = order.schedule is not None and tick is not None and not order.begun
        if fresh and not schedules_table.claim(self._state, str(order.schedule), tick or now, now):
            return None  # somebody else has it
        ended = self._work(Task.parse(order.task), now + SLICE)
        if after(order, ended) is None:
            if order.schedule is not None and tick is not None:
                schedules_table.ended(self._state, order.schedule, tick, ended.code, self._now())
            self._told(order, ended)
        return ended

    async def _worked(self, queues: list[str], concurrency: int, *, burst: bool) -> None:
        while True:
            await self.app.run_worker_async(
                queues=queues,
                concurrency=concurrency + 1,  # looking what is due waits for no slice
                wait=not burst,
                install_signal_handlers=False,
                update_heartbeat_interval=HEARTBEAT_SECONDS,
                stalled_worker_timeout=STALLED_SECONDS,
                delete_jobs="successful",
                fetch_job_polling_interval=5.0,
            )
            waiting = [one for name in queues for one in await self._todo(name)]
            if not waiting:
                return
            await asyncio.sleep(1.0)  # what waits for a while has a time at which it may begin

    async def _todo(self, queue: str) -> list[procrastinate.jobs.Job]:
        return [*await self.app.job_manager.list_jobs_async(queue=queue, status="todo")]

    async def run(
        self, *, concurrency: int, schedules: bool, slices: bool, burst: bool, asked: threading.Event
    ) -> None:
        """Work until somebody asks for the end, or with `burst` until nothing waits.

        Args:
            concurrency: How many slices at once.
            schedules: Whether to look what is due, every minute, and after stalled work.
            slices: Whether to do slices.
            burst: Whether to stop once the queue is empty.
            asked: Set when the process shall end: slices end at their next border, and what is
                left of them is ordered again.
        """
        with ThreadPoolExecutor(concurrency, thread_name_prefix="slice") as self._pool:
            async with self.app.open_async():
                if schedules:
                    await self._rescue_stalled()
                    await self._enqueue_due()
                    if not burst:
                        self.app.periodic(cron="* * * * *", periodic_id="tick")(self._tick)
                        self.app.periodic(cron="* * * * *", periodic_id="rescue")(self._rescue)
                queues = [_HOUSEKEEPING] * schedules + [_QUEUE] * slices
                worker = asyncio.create_task(self._worked(queues, concurrency, burst=burst))
                loop = asyncio.get_running_loop()

                def stop() -> None:
                    asked.set()
                    worker.cancel()

                for number in (signal.SIGINT, signal.SIGTERM):
                    loop.add_signal_handler(number, stop)
                try:
                    with suppress(asyncio.CancelledError):
                        await worker
                finally:
                    for number in (signal.SIGINT, signal.SIGTERM):
                        loop.remove_signal_handler(number)


def _schema(state: State) -> str:
    """The queue's own schema, beside the state's."""
    with state.read() as db:
        current = str(db.execute(sa.select(sa.func.current_schema())).scalar_one())
    return "crmkit_queue" if current == "public" else f"{current}_queue"


def _conninfo(url: str) -> str:
    """The address as libpq reads it; the search path is the queue's own."""
    parsed = make_url(url)
    query: Mapping[str, Any] = {name: value for name, value in parsed.query.items() if name != "options"}
    return parsed.set(drivername="postgresql", query=dict(query)).render_as_string(hide_password=False)
