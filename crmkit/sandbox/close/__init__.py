"""Close on localhost, from the contract and the official payloads."""

from crmkit.sandbox.close.app import CloseApp

__all__ = ["CloseApp"]
