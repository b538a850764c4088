"""What the metrics are computed from: typed tables that every SQL engine reads.

`collect` takes them from the state store, `engine` opens them (embedded DuckDB, or Spark),
`snapshot` puts the deals together as they were at an instant, `deals` joins the members of a
linked deal and values it. Everything above is SQL over these tables, written once in DuckDB's
dialect; sqlglot translates it for other engines.

Numbers are whole: engines disagree about decimals, floats and time zones, but not about
integers. The scales are in `scale`.
"""
