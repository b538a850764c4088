"""Hears the CRMs' webhooks and acts on them: `app` checks and stores, `handling` pulls and syncs."""
