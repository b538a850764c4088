"""Texts of results part by part, and of definitions that report and review share, in German."""

# ruff: noqa: E501 - a text stands on one line

TEXTS = {
    "results_by_month": "Ergebnisse nach Monat",
    "results_by_owner": "Ergebnisse nach Zuständigen",
    "results_by_team": "Ergebnisse nach Team",
    "results_by_connection": "Ergebnisse nach CRM",
    "win_rate_from_stage": "Abschlussquote ab jeder Phase",
    "due_in_period": "Im Zeitraum fällig",
    "created_at_creation": "Angelegt, zum ersten Betrag",
    "chart_trend": "Gewonnen, verloren und angelegt nach Monat",
    "col_window": "Fenster",
    "col_closed_deals": "Beendete Deals",
    "col_won_deals": "Gewonnene Deals",
    "col_won_amount": "Gewonnen",
    "col_lost_deals": "Verlorene Deals",
    "col_lost_amount": "Verloren",
    "col_created_deals": "Angelegte Deals",
    "col_created_amount": "Angelegt",
    "col_net_new": "Netto neu",
    "def_results_by_month": "Gewonnen und verloren nach dem Tag des Endes, angelegt nach dem Tag der Anlage; der erste und der letzte Monat enden mit dem Fenster. Eine Zahl führt zu den Deals, die damals beendet wurden.",
    "formula_results_by_month": "die Monate ergeben zusammen die Ergebnisse des Fensters",
    "def_results_parts": "Die Ergebnisse des gleitenden Fensters und des Zeitraums danach, wer die Deals jetzt hat: Jede Liste ergibt zusammen das Ganze. Ein Name führt zu den beendeten Deals.",
    "formula_results_parts": "Abschlussquote = gewonnen / (gewonnen + verloren), ohne Dubletten",
    "def_win_rate_from_stage": "Von den im Fenster beendeten Deals, die je in einer Phase waren, die gewonnenen. Deals, von denen keine Phase bekannt ist, bleiben weg; nichts wird aufgefüllt.",
    "formula_win_rate_from_stage": "gewonnen / (gewonnen + verloren) unter Deals, die in der Phase waren",
    "def_conversion": "Von den Deals, die im Fenster in eine Phase kamen, jeder bei seinem ersten Eintritt, die, die weiterkamen oder gewonnen wurden; dazu die Tage in der Phase. Eine Phase führt zu den Deals, die in sie kamen, soweit diese Seite sie enthält.",
    "formula_conversion": "Übergang = weiter / eingetreten; von Entschiedenen = weiter / (weiter + verloren)",
    "def_review_bucket": "Die Deals, die der Balken dieses Namens im Wasserfall zählt, mit dem, was sie am Anfang und am Ende waren.",
    "def_review_slip": "Die Deals, die bei Beginn des Zeitraums offen und darin fällig waren, und was bisher aus ihnen wurde.",
    "formula_review_slip": "verrutscht = verschoben + überfällig",
}
