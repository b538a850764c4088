"""Texts of the weekly review, in German."""

# ruff: noqa: E501 - a text stands on one line

TEXTS = {
    "review_title": "Was sich in der Pipeline geändert hat",
    "review_balance": "Offene Pipeline: {start} am Anfang, {end} am Ende; jeder Deal dazwischen steht unten.",
    "review_history": "Erst seit {since} bekannt: {names}. Frühere Änderungen dieser Deals sind in keiner Zahl, und was schon da war, zählt als erstmals gesehen.",
    "review_won_elsewhen": "{deals} als gewonnen abgegangen, obwohl das CRM einen anderen Zeitpunkt nennt.",
    "review_slipped": "Aus {period} hinausgeschoben",
    "review_pulled_in": "In {period} vorgezogen",
    "review_date_set": "Abschluss in {period} neu gesetzt",
    "review_date_cleared": "Abschluss in {period} gelöscht",
    "review_pushed_in": "Vor {period} überfällig, jetzt darin fällig",
    "review_pulled_out": "Vor {period} verlegt",
    "review_pushed": "Verschoben",
    "review_pulled": "Vorgezogen",
    "review_slip": "Zu Beginn in {period} fällig: was bisher daraus wurde",
    "review_fx_missing": "{deals} ohne Wechselkurs: gezählt, aber in keiner Summe.",
    "flow_reason_closed_again": "war schon abgeschlossen, Abschluss neu datiert",
    "col_outcome_now": "Jetzt",
    "scope_teams": "Teams",
}
