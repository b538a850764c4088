"""Copper: opportunities are deals, people are contacts."""
