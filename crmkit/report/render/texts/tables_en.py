"""The English texts of tables, of outputs for other programs, and of notifications."""

from __future__ import annotations

TEXTS = {
    "columns_left_out": "{count} columns more in a wider terminal, and in the JSON and CSV outputs.",
    "rows_cut": "{count} rows more than a sheet can hold: the Parquet and CSV outputs have all of them.",
    # settings of a report
    "parameters": "How it was counted",
    "col_setting": "Setting",
    "setting_as_of": "As of",
    "setting_as_of_date": "Day of the report",
    "setting_time_zone": "Time zone",
    "setting_report_currency": "Currency",
    "setting_amount_basis": "Recurring amounts",
    "setting_as_entered": "as entered",
    "setting_annualised": "monthly ones times twelve",
    "setting_fiscal_start_month": "Fiscal year starts in month",
    "setting_stale_days": "Stale after days",
    "setting_stale_warning_days": "Going stale after days",
    "setting_record_order": "CRMs of record",
    "setting_last_modified": "the one modified last",
    "setting_scope": "Scope",
    "setting_everything": "everything",
    "setting_records": "Records read",
    "setting_deals": "Deals counted",
    # notifications
    "notify_change": "{change} since {day}",
    "notify_waiting": "Waiting for a person",
    "notify_unmapped": "stages without a common stage: {count}",
    "notify_rates": "amounts without an exchange rate: {count}",
    "notify_errors": "deals that contradict themselves: {count}",
    "notify_nothing": "Nothing waits for a person.",
    "notify_report": "Full report",
    "notify_stale_deals": "Largest stale deals",
}
