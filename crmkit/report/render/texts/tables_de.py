"""The German texts of tables, of outputs for other programs, and of notifications."""

from __future__ import annotations

TEXTS = {
    "columns_left_out": "{count} weitere Spalten in einem breiteren Terminal und in den JSON- und CSV-Ausgaben.",
    "rows_cut": "{count} Zeilen mehr als ein Blatt fasst: Die Parquet- und CSV-Ausgaben haben alle.",
    # settings of a report
    "parameters": "So wurde gezählt",
    "col_setting": "Einstellung",
    "setting_as_of": "Stand",
    "setting_as_of_date": "Tag des Berichts",
    "setting_time_zone": "Zeitzone",
    "setting_report_currency": "Währung",
    "setting_amount_basis": "Wiederkehrende Beträge",
    "setting_as_entered": "wie eingegeben",
    "setting_annualised": "monatliche mal zwölf",
    "setting_fiscal_start_month": "Geschäftsjahr beginnt im Monat",
    "setting_stale_days": "Still nach Tagen",
    "setting_stale_warning_days": "Wird still nach Tagen",
    "setting_record_order": "Führende CRMs",
    "setting_last_modified": "das zuletzt geänderte",
    "setting_scope": "Umfang",
    "setting_everything": "alles",
    "setting_records": "Gelesene Datensätze",
    "setting_deals": "Gezählte Deals",
    # notifications
    "notify_change": "{change} seit {day}",
    "notify_waiting": "Wartet auf einen Menschen",
    "notify_unmapped": "Phasen ohne gemeinsame Phase: {count}",
    "notify_rates": "Beträge ohne Wechselkurs: {count}",
    "notify_errors": "Deals mit Widersprüchen: {count}",
    "notify_nothing": "Nichts wartet auf einen Menschen.",
    "notify_report": "Ganzer Bericht",
    "notify_stale_deals": "Größte stille Deals",
}
