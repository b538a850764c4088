"""Connectors: the wire format of each CRM on one side, canonical records on the other."""
