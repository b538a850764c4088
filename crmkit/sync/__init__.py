"""The engine: local state, pull, links; later reconcile, plan and apply."""
