"""When work is due: schedules, quiet hours and daily budgets. Pure decisions; nothing here acts."""
