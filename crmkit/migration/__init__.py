"""Moving deals, pipelines and people from one CRM into another."""
