"""From each CRM's own stages to common ones and back: pure functions, no vendor names."""
