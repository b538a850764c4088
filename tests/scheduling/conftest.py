"""The stores of the sync tests, SQLite and PostgreSQL, and the command line of the scenarios."""

from tests.scenarios.conftest import crmkit
from tests.sync.conftest import state, state_url

__all__ = ["crmkit", "state", "state_url"]
