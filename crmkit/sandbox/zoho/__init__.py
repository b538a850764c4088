"""Zoho CRM on the wire: an organisation's REST API v8, with its accounts server on the same origin.

Read `app` (routes, tokens, limits), `org` (one organisation: zone, names, stages), `schema` with `deals`
and `people` (modules and their fields), then the calls: `lists` (list, get, deleted, related lists),
`coql` over `coql_text` (queries), `search`, `bulk` and `metadata` (settings, users, organisation).
Writing: `bodies` (the envelope of rows), `values` and `drafts` (from JSON to our rows, with what Zoho objects
to), `uniques`, then `writes` (records and notes), `links` (roles, merging, owners), `pipeline_writes`,
`field_writes` and `bulk_writes`.
Facts: https://www.zoho.com/crm/developer/docs/api/v8/ and recorded answers named where they are used.
"""

from crmkit.sandbox.zoho.app import ZohoApp

__all__ = ["ZohoApp"]
