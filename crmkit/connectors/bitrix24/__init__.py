"""Bitrix24: deals, pipelines and people of one portal."""
