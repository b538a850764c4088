"""Figures over all connections: the pipeline report, the differences, and how they are drawn.

Values in, values out: no clock, no files, no database. `inputs` says what goes in.
"""
