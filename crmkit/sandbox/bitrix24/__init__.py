"""Bitrix24 on the wire: a portal's REST v2 with webhooks and OAuth.

Read `app` (address, credentials, limits), `portal` (one call and what it may
see), `batch`, then the methods: `records` and `lists` (deals, companies,
contacts in both dialects), `directory` (pipelines, stages, users, currencies),
`timeline` (stage history, comments, links), `activities` and `metadata` (field lists).
Writing: `values` (what one value becomes), `drafts` (what a call changes of a
row), `saving` (defaults, stages, automation), `writes` and `imports`, then
`links`, `communications`, `notes`, `todos`, `merging`, and for the
administrator `structure`, `userfields` and `currencies`.
Facts: https://apidocs.bitrix24.com and measurements named where they are used.
"""

from crmkit.sandbox.bitrix24.app import Bitrix24App

__all__ = ["Bitrix24App"]
