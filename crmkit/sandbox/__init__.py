"""Five CRMs on localhost, for tests and rehearsals: the other side of the wire.

Read `world` (what a CRM holds), `seed` (how it is filled), `app` (what every
vendor's app shares) and `server` (how they are started), in this order. Nothing
here is shared with the connectors, so that a misreading cannot hide in both.
"""
