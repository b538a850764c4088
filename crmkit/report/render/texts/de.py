"""The German texts of reports."""

from __future__ import annotations

TEXTS = {
    "language": "de",
    "thousands": ".",
    "decimal": ",",
    "none": "k. A.",
    "unmapped": "Nicht zugeordnet",
    "no_value": "keine",
    "no_owner": "Niemand zuständig",
    "no_reason": "Kein Grund angegeben",
    "no_currency": "Keine Währung",
    "inactive": "inaktiv",
    "all": "Summe",
    "low_sample": "kleine Stichprobe",
    "rows_left_out": "{count} weitere Zeilen: Die JSON- und CSV-Ausgaben haben alle.",
    "empty": "Nichts zu zeigen.",
    "as_of": "Stand",
    "in_currency": "Alle Beträge in",
    "records_read": "Datensätze gelesen",
    "deals": "Deals",
    "connections": "Verbindungen",
    "of": "von",
    "pair_count": "über {count} Paare von CRMs",
    "one_pair": "zwischen zwei CRMs",
    "on_deals": "an {count} verknüpften Paaren",
    "must_be_none": "Datensätze in einem CRM; muss 0 sein",
    "only_in": "Nur in {name}",
    "definition": "So wird gezählt",
    "skip": "Zu den Zahlen springen",
    "footer": "Erstellt mit crmkit. Eine Datei, keine Skripte, nichts wird nachgeladen.",
    # pipeline report
    "pipeline_title": "Pipeline-Bericht",
    "open_amount": "Offene Pipeline",
    "weighted_amount": "Gewichtete Pipeline",
    "open_count": "Offene Deals",
    "average_amount": "Offener Deal im Durchschnitt",
    "median_amount": "Offener Deal im Median",
    "top_deal_share": "Anteil des größten Deals",
    "overdue": "Überfällig",
    "no_close_date": "Kein Abschlussdatum",
    "amount_missing": "Ohne Betrag",
    "fx_missing_count": "Ohne Wechselkurs",
    "weighted_excluded": "Ohne Wahrscheinlichkeit",
    "win_rate": "Abschlussquote",
    "won": "Gewonnen",
    "lost": "Verloren",
    "created": "Angelegt",
    "net_new": "Pipeline netto neu",
    "cycle": "Zyklus im Durchschnitt",
    "median_cycle": "Zyklus im Median",
    "stale": "Still",
    "warning": "Wird still",
    "last_days": "letzte {count} Tage",
    "period": "Zeitraum",
    "later": "Später",
    "days": "Tage",
    "per_day": "pro Tag",
    "summary": "Übersicht",
    "by_stage": "Nach Phase",
    "by_native_stage": "Nach Phase je CRM",
    "by_connection": "Nach CRM",
    "by_owner": "Nach Zuständigen",
    "by_close_month": "Nach Monat des erwarteten Abschlusses",
    "by_close_quarter": "Nach Geschäftsquartal des erwarteten Abschlusses",
    "ageing": "Alter offener Deals",
    "results": "Ergebnisse",
    "win_rates": "Abschlussquoten",
    "lost_reasons": "Verloren, nach Grund",
    "lost_kinds": "Verloren, nach Art",
    "velocity": "Vertriebstempo je Pipeline",
    "top_deals": "Größte offene Deals",
    "stale_deals": "Größte stille Deals",
    "waiting": "Wartet auf Sie",
    "nothing_waits": (
        "Nichts: Jede Phase ist zugeordnet, jeder Betrag umgerechnet, kein Deal widerspricht sich."
    ),
    "unmapped_stages": "Phasen ohne gemeinsame Phase",
    "missing_rates": "Beträge ohne Wechselkurs",
    "errors": "Deals, die sich widersprechen",
    "mixed_periods": "Summen addieren einmalige, monatliche und jährliche Beträge wie eingetragen.",
    "chart_stage": "Offene Pipeline nach Phase",
    "chart_month": "Offene Pipeline nach erwartetem Abschluss",
    "chart_age": "Offene Pipeline nach Alter",
    "chart_win": "Abschlussquoten",
    "age_unknown": "Alter unbekannt",
    "age_days": "{first} bis {last} Tage",
    "age_over": "über {first} Tage",
    "open_older": "Offene Deals, älter als zweimal der mittlere Zyklus",
    "rate_count": "Gewonnen von allen beendeten",
    "rate_amount": "Nach Betrag",
    "rate_competitive": "Gewonnen gegen Wettbewerb",
    "rate_created": "Von angelegten Deals",
    "rate_created_resolved": "Von angelegten und beendeten",
    "rate_created_open": "Angelegt, noch offen",
    "rate_strict": "Streng",
    "note_count": "gewonnen / (gewonnen + verloren)",
    "note_amount": "gewonnener / (gewonnener + verlorener Betrag)",
    "note_competitive": "ohne aufgegebene und ungeeignete",
    "note_created": "gewonnen / angelegt in denselben Tagen",
    "note_created_resolved": "gewonnen / (gewonnen + verloren) von diesen",
    "note_created_open": "noch offen / angelegt",
    "note_strict": "überfällige und stille Deals gelten als verloren",
    "activity_unknown": (
        "Bei {count} Deals ist keine Aktivität bekannt; sie werden nur nach ihren Änderungen beurteilt."
    ),
    # the page
    "deal_one": "{count} Deal",
    "deal_many": "{count} Deals",
    "nav": "Kapitel",
    "nav_summary": "Übersicht",
    "nav_pipeline": "Offene Pipeline",
    "nav_results": "Ergebnisse",
    "nav_tables": "Im Einzelnen",
    "nav_deals": "Deals zum Ansehen",
    "nav_waiting": "Wartet auf Sie",
    "nav_all_deals": "Alle Deals",
    "scope_connections": "CRMs",
    "scope_pipelines": "Pipelines",
    "scope_owners": "Zuständige",
    "theme": "Hell oder dunkel",
    "explain": "So wird gezählt: {title}",
    "as_table": "Als Tabelle",
    "save_csv": "Als CSV sichern",
    "close_panel": "Schließen",
    "show_all": "Deals",
    "search": "Deals, Firmen, Zuständige suchen",
    "filter_all": "Alle",
    "none_filter": "Ohne",
    "reset": "Filter zurücksetzen",
    "page_of": "{from}–{to} von {count}",
    "previous": "Zurück",
    "next": "Weiter",
    "nothing_matches": "Kein Deal passt.",
    "total": "Summe",
    "filtered": "gefiltert aus {count}",
    "left_out": (
        "{count} mehr stehen nicht in dieser Seite: Die Zahlen zählen sie, die Listen zeigen sie nicht."
    ),
    "needs_script": (
        "Listen von Deals brauchen Skripte; die Zahlen, Diagramme und Listen darüber brauchen keine."
    ),
    "waiting_lead": "{count} Befunde, die in die Zahlen nicht so eingehen konnten, wie sie sind.",
    "won_in_period": "Gewonnen im Zeitraum",
    "of_open": "{share} der offenen Pipeline",
    "no_close_date_short": "Ohne Datum",
    "stale_lead": "{amount} in {deals} ohne Lebenszeichen seit {days} Tagen oder länger.",
    "footer_page": "Erstellt mit crmkit. Eine Datei: Nichts wird nachgeladen, nichts wird gesendet.",
    # columns
    "col_status": "Status",
    "col_closed": "Beendet",
    "col_stage": "Phase",
    "col_outcome": "Ausgang",
    "col_common_stage": "Gemeinsame Phase",
    "col_connection": "CRM",
    "col_pipeline": "Pipeline",
    "col_owner": "Zuständig",
    "col_company": "Firma",
    "col_deal": "Deal",
    "col_name": "Name",
    "col_ref": "Ref",
    "col_deals": "Deals",
    "col_records": "Datensätze",
    "col_amount": "Betrag",
    "col_weighted": "Gewichtet",
    "col_share": "Anteil",
    "col_no_amount": "Ohne Betrag",
    "col_no_rate": "Ohne Kurs",
    "col_no_probability": "Ohne Wahrsch.",
    "col_month": "Monat",
    "col_quarter": "Quartal",
    "col_close": "Erwarteter Abschluss",
    "col_idle": "Stille Tage",
    "col_age": "Alter",
    "col_metric": "Kennzahl",
    "col_value": "Wert",
    "col_sample": "Gezählte Deals",
    "col_rate": "Quote",
    "col_won": "Gewonnen",
    "col_base": "Von",
    "col_note": "Formel",
    "col_trailing": "Gleitendes Fenster",
    "col_period": "Zeitraum",
    "col_reason": "Grund",
    "col_kind": "Art",
    "col_currency": "Währung",
    "col_day": "Kurs vom",
    "col_open_deals": "Offene Deals",
    "col_open_amount": "Offener Betrag",
    "col_problem": "Problem",
    "col_cycle": "Zyklus im Durchschnitt, Tage",
    "col_average_won": "Gewonnen im Durchschnitt",
    "col_velocity": "Pro Tag",
    "created_after_as_of": "nach dem Berichtstag angelegt",
    "closed_after_as_of": "nach dem Berichtstag beendet",
    "closed_without_date": "beendet, aber ganz ohne Datum",
    "closed_before_created": "beendet, bevor er angelegt wurde",
    "amount_unreadable": "der Betrag ist keine brauchbare Zahl",
    "probability_out_of_range": "die Wahrscheinlichkeit liegt nicht zwischen 0 und 1",
    "unknown_common_stage": "seine gemeinsame Phase gibt es nicht",
    "kind_lost": "Verloren",
    "kind_abandoned": "Aufgegeben",
    "kind_disqualified": "Ungeeignet",
    "kind_duplicate": "Dublette",
    "open": "Offen",
    # differences
    "differences_title": "Unterschiede der Pipelines",
    "differences_summary": "Unterschiede zwischen den CRMs",
    "col_other": "Verknüpft mit",
    "col_linked": "Verknüpft",
    "col_missing": "Fehlend",
    "col_missing_x": "Nur im ersten",
    "col_missing_y": "Nur im zweiten",
    "col_differing": "Abweichende Felder",
    "col_present": "Vorhanden in",
    "col_missing_in": "Fehlt in",
    "col_field": "Feld",
    "col_agreement": "Übereinstimmung",
    "col_not_comparable": "Nicht vergleichbar",
    "col_x": "Erstes",
    "col_y": "Zweites",
    "col_difference": "Unterschied",
    "col_x_deals": "Deals, erstes",
    "col_y_deals": "Deals, zweites",
    "col_x_amount": "Betrag, erstes",
    "col_y_amount": "Betrag, zweites",
    "col_refs": "Datensätze",
    "col_coverage": "Zugeordnet",
    "col_finding": "Befund",
    "col_linked_of": "Verknüpft von allen",
    "linked_pairs": "Verknüpfte Paare",
    "missing_deals": "Fehlende Deals",
    "differing_fields": "Abweichende Felder",
    "duplicate_links": "Doppelt verknüpft",
    "overview": "Überblick",
    "field_agreement": "Übereinstimmung nach Feld",
    "field_differences": "Abweichende Felder",
    "missing": "Fehlende Deals",
    "stage_parity": "Deals nach Phase auf beiden Seiten",
    "amount_parity": "Offene Beträge auf beiden Seiten",
    "stage_map_coverage": "Zuordnung der Phasen",
    "link_rates": "Verknüpfte Deals",
    "no_differences": "Keine Unterschiede: Jeder Deal hat seinen Partner, jedes Feld stimmt überein.",
    "some_differences": "Die Pipelines unterscheiden sich.",
    "in_report_currency": "{currency}, umgerechnet",
    "finding_unmapped": "nicht zugeordnet",
    "finding_many": "teilt sich {stage} mit anderen",
    "finding_clash": "{outcome}, zugeordnet zu {stage} ({common})",
    "status": "Status",
    "stage": "Phase",
    "amount": "Betrag",
    "currency": "Währung",
    "close_date": "Abschlussdatum",
    "owner": "Zuständig",
    "company": "Firma",
    # definitions
    "def_open_amount": (
        "Die Summe der Beträge aller offenen Deals, um die es im Bericht geht. Ein über mehrere CRMs"
        " verknüpfter Deal zählt einmal, mit den Werten des führenden CRMs, sonst des zuletzt geänderten"
        " Datensatzes. Beträge werden zum Kurs des Berichtstags umgerechnet; ein Deal ohne Betrag trägt"
        " nichts bei, ein Deal ohne Kurs fehlt in allen Beträgen und ist unten aufgeführt."
    ),
    "def_weighted_amount": (
        "Die Summe aus Betrag mal Wahrscheinlichkeit über offene Deals. Deals ohne Wahrscheinlichkeit"
        " bleiben außen vor und werden daneben gezählt."
    ),
    "def_by_stage": (
        "Offene Deals in jeder gemeinsamen Phase, nach der Zuordnung jedes CRMs. Deals in nicht"
        " zugeordneten Phasen haben eine eigene Zeile, so dass die Zeilen immer die Summe ergeben."
    ),
    "def_by_connection": (
        "Datensätze sind das, was gelesen wurde. Deals sind, was offen bleibt, wenn verknüpfte Datensätze"
        " einmal zählen; ein verknüpfter Deal zählt bei dem CRM, dessen Werte er annimmt."
    ),
    "def_by_close_month": (
        "Offene Deals nach dem Monat, in dem ihr Abschluss erwartet wird. Überfällige Deals (erwartet vor"
        " dem Berichtstag) und Deals ohne Datum stehen für sich und in keinem Monat."
    ),
    "def_by_close_quarter": (
        "Wie nach Monat, in Quartalen des Geschäftsjahrs, benannt nach dem Jahr, in dem es endet."
    ),
    "def_by_owner": (
        "Offene Deals nach Zuständigen; wer in mehreren CRMs dieselbe E-Mail-Adresse hat, ist eine Person."
    ),
    "def_ageing": (
        "Das Alter zählt örtliche Tage, seit ein Deal angelegt wurde. Stille Deals hatten mindestens so"
        " lange keine Aktivität und keine Änderung, wie ihre Phase es vorgibt."
    ),
    "def_win_rates": (
        "Deals, die im Fenster beendet wurden, wenn eine Quote nicht von angelegten spricht. Als Dublette"
        " verlorene Deals zählen in keiner Quote. Quoten über beendete Deals schmeicheln Teams, die"
        " verlorene Deals nie schließen: Die strenge Quote zählt offene Deals, die überfällig oder still"
        " sind, als verloren."
    ),
    "def_results": (
        "Gewonnen und verloren nach dem Tag des Endes, angelegt nach dem Tag der Anlage, in der Zeitzone"
        " des Berichts. Beendete Beträge werden zum Kurs dieses Tages umgerechnet."
    ),
    "def_velocity": (
        "Offene Deals mal durchschnittlich gewonnener Betrag mal Abschlussquote, geteilt durch den"
        " durchschnittlichen Zyklus in Tagen (mindestens einen), im gleitenden Fenster. Wird nie über"
        " Pipelines addiert."
    ),
    "def_waiting": "Vollständige Listen dessen, was die Zahlen nicht so verwenden konnten, wie es ist.",
    "def_top_deals": "Die offenen Deals mit den größten Beträgen in der Berichtswährung.",
    "def_stale_deals": "Stille offene Deals mit den größten Beträgen; die Übersicht zählt alle.",
    "def_overview": (
        "Verknüpfte Paare sind Deals, von denen bekannt ist, dass sie in beiden CRMs derselbe sind. Ein"
        " Deal ohne Partner fehlt auf der anderen Seite. Felder werden an verknüpften Paaren verglichen;"
        " kein Wert ist auch ein Wert."
    ),
    "def_stage_parity": "Alle Deals in jeder gemeinsamen Phase, offen und beendet, auf beiden Seiten.",
    "def_amount_parity": "Offene Beträge je Währung, wie sie sind, und zusammen in der Berichtswährung.",
    "def_stage_map_coverage": (
        "Deals in zugeordneten Phasen von allen Deals. Phasen, die sich eine gemeinsame Phase teilen,"
        " können ohne Vorgabe nicht zurückgeschrieben werden; ein Widerspruch ordnet eine Phase einer mit"
        " anderem Ausgang zu."
    ),
    "def_field_agreement": (
        "Paare, die im Feld übereinstimmen, von Paaren, bei denen beide CRMs es ausdrücken können. Beträge"
        " werden in den Stellen ihrer Währung verglichen; Zuständige und Firmen nach Schlüssel,"
        " E-Mail-Adresse oder Name."
    ),
    "def_overdue": (
        "Offene Deals, deren Abschluss vor dem Berichtstag erwartet wurde und die immer noch offen sind."
    ),
    "def_lost": (
        "Deals, die im gleitenden Fenster verloren gingen, nach Grund und Art, wie das CRM sie angibt. Ein"
        " fehlender Grund ist eine eigene Zeile."
    ),
    "def_by_native_stage": (
        "Offene Deals in jeder Phase jeder Pipeline, wie das CRM sie nennt, mit der gemeinsamen Phase, der"
        " sie zugeordnet ist."
    ),
    "formula_open_amount": "Summe der Beträge offener Deals",
    "formula_weighted_amount": "Summe aus Betrag × Wahrscheinlichkeit über offene Deals",
    "formula_overdue": "offene Deals mit erwartetem Abschluss < Berichtstag",
    "formula_win_rates": "gewonnen / (gewonnen + verloren), im Fenster beendet, ohne Dubletten",
    "formula_results": "netto neu = angelegt − gewonnen − verloren",
    "formula_ageing": "Alter = Berichtstag − Tag der Anlage",
    "formula_velocity": (
        "offene Deals × gewonnener Betrag im Durchschnitt × Quote / Zyklus im Durchschnitt in Tagen"
    ),
}
