"""The page of the pipeline report: its sections, its charts and the deals that it carries.

A section is a function from a `Page` to a `Section`, or `None` where its figures are not
there; `sections` lists them in the order in which they are read.
"""
