"""The commands, one module per subject; `crmkit.cli` puts them together."""
