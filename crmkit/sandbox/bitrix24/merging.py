"""Merges records: one id stays, the others are gone without a trace.

Source: https://apidocs.bitrix24.com/api-reference/crm/duplicates/crm-entity-merge-batch.html
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from crmkit.sandbox.bitrix24.php import as_list, as_map
from crmkit.sandbox.bitrix24.portal import Answer, Caller, Failure, Portal
from crmkit.sandbox.bitrix24.records import kind_of
from crmkit.sandbox.rows import Kind

# What a person would have to choose between; which fields these are is undocumented (inferred).
_CONTESTED: Mapping[Kind, tuple[str, ...]] = {
    "deal": ("pipeline_id", "currency", "amount", "company_id"),
    "contact": ("first", "last"),
    "company": ("name",),
}


def merge_batch(portal: Portal, params: Mapping[str, Any], caller: Caller) -> Answer:
    """`crm.entity.mergeBatch`: `SUCCESS`, `CONFLICT` (nothing done) or `ERROR`, always with HTTP 200.

    The first id stays, and takes over links and whatever was empty (inferred).
    """
    said = as_map(params.get("params"))
    kind = kind_of(said)
    ids = list(dict.fromkeys(str(one) for one in as_list(said.get("entityIds"))))
    if len(ids) < 2:
        raise Failure("", "The parameter 'entityIds' must contains at least two elements.")
    table = portal.world.live.tables[kind]
    told = {"ENTITY_IDS": [int(one) for one in ids if one.isdigit()]}
    if any(one not in table for one in ids):
        return Answer({"STATUS": "ERROR", **told})
    rows = [table[one] for one in ids]
    for name in _CONTESTED[kind]:
        values = {getattr(row, name) for row in rows} - {None, ""}
        if len(values) > 1:
            return Answer({"STATUS": "CONFLICT", **told})
    for loser in ids[1:]:
        portal.world.merge(kind, loser, ids[0], by=caller.user_id)
    return Answer({"STATUS": "SUCCESS", **told})
