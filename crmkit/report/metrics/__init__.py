"""Figures computed from the fact tables, one subject to a module: SQL that two engines run alike."""
