"""Guards: a plan that looks like an accident stops before its first write (sync-semantics 7.1)."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence

from crmkit.connectors.writing import Act
from crmkit.errors import GuardTripped
from crmkit.model import Kind
from crmkit.sync.plan import Op, TrippedGuard
from crmkit.sync_settings import GuardSettings


def guard(
    ops: Sequence[Op], links: Mapping[str, int], settings: GuardSettings, *, first: bool
) -> list[TrippedGuard]:
    """The guards that a plan trips.

    Args:
        ops: All writes.
        links: Live deal links per member, before the plan.
        settings: The limits.
        first: Whether the group never agreed on anything and several members hold deals.
    """
    found: list[TrippedGuard] = []
    deals = [op for op in ops if op.kind is Kind.DEAL]
    by_act: dict[Act, Counter[str]] = defaultdict(Counter)
    for op in deals:
        by_act[op.act][op.connection] += 1
    for connection, count in sorted(by_act[Act.DELETE].items()):
        limit = max(settings.deletes, int(settings.deletes_share * links.get(connection, 0)))
        if count > limit:
            found.append(_trip("deletes", connection, count, limit, "deals would be deleted"))
    for connection, count in sorted(by_act[Act.CREATE].items()):
        limit = max(settings.creates, int(settings.creates_share * links.get(connection, 0)))
        if first:
            found.append(_trip("creates", connection, count, 0, "deals would be created in this first sync"))
        elif count > limit:
            found.append(_trip("creates", connection, count, limit, "deals would be created"))
    touched, emptied = _fields(deals)
    for (connection, name), count in sorted(touched.items()):
        limit = max(settings.creates, int(settings.field_share * links.get(connection, 0)))
        if count > limit:
            found.append(_trip(f"field.{name}", connection, count, limit, f"deals would get another {name}"))
    for (connection, name), count in sorted(emptied.items()):
        limit = max(settings.deletes, int(settings.emptied_share * links.get(connection, 0)))
        if count > limit:
            found.append(_trip(f"emptied.{name}", connection, count, limit, f"deals would lose their {name}"))
    return found


def unconfirmed(tripped: Sequence[TrippedGuard], confirmed: Mapping[str, int]) -> list[TrippedGuard]:
    """The guards that nobody confirmed: by name, with at least the count that they found."""
    return [one for one in tripped if confirmed.get(one.name, -1) < one.count]


def flags(guards: Iterable[TrippedGuard]) -> str:
    """The options that let guards pass; one for each name."""
    counts: dict[str, int] = {}
    for one in guards:
        counts[one.name] = max(one.count, counts.get(one.name, 0))
    return " ".join(f"--confirm {name}={count}" for name, count in counts.items())


def stop(
    sync: str, tripped: Sequence[TrippedGuard], confirmed: Mapping[str, int], look: str | None = None
) -> None:
    """Stop at guards that nobody confirmed.

    Args:
        sync: The sync's name.
        tripped: The guards.
        confirmed: By guard, up to which count somebody let it pass.
        look: The command that shows the plan.

    Raises:
        GuardTripped: There are some; the hint says what lets them pass.
    """
    stops = unconfirmed(tripped, confirmed)
    if stops:
        raise GuardTripped(
            f"{sync}: stopped before the first write:\n" + "\n".join(f"  {one.reason}" for one in stops),
            hint=f"Look at the plan with `{look or f'crmkit plan {sync}'}`; "
            f"if that is what you want, add {flags(stops)}",
        )


def _fields(deals: Sequence[Op]) -> tuple[Counter[tuple[str, str]], Counter[tuple[str, str]]]:
    touched: Counter[tuple[str, str]] = Counter()
    emptied: Counter[tuple[str, str]] = Counter()
    for op in deals:
        if op.act is not Act.UPDATE:
            continue
        for one in op.fields:
            touched[op.connection, one.field] += 1
            if one.new in (None, []) and one.old not in (None, []):
                emptied[op.connection, one.field] += 1
    return touched, emptied


def _trip(name: str, connection: str, count: int, limit: int, what: str) -> TrippedGuard:
    return TrippedGuard(
        name=name,
        connection=connection,
        count=count,
        limit=limit,
        reason=f"{count:,} {what} in {connection}; without a confirmation at most {limit:,}",
    )
