"""Draws reports: a terminal, JSON, CSV, Markdown and one HTML file. Text in, text out; writes nothing."""
