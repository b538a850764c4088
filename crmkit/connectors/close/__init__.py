"""Close: leads are companies, opportunities are deals, opportunity statuses are stages."""
