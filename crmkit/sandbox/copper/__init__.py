"""Copper on localhost, from the contract and the official payloads."""

from crmkit.sandbox.copper.app import CopperApp

__all__ = ["CopperApp"]
