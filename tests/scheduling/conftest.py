"""The stores of the sync tests, SQLite and PostgreSQL, and the command line of the scenarios."""

from tests.scenarios.conftest import crmkit
from tests.sync.conftest import postgres_url, state, state_url

__all__ = ["crmkit", "postgres_url", "state", "state_url"]
