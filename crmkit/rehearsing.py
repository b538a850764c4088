"""Rehearsals of a configured workspace: local twins of two CRMs, and the migration run on them."""
