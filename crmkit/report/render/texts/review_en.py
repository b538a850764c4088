"""Texts of the weekly review, in English."""

# ruff: noqa: E501 - a text stands on one line

TEXTS = {
    "review_title": "What changed in the pipeline",
    "review_balance": "Open pipeline: {start} at the start, {end} at the end; every deal in between is below.",
    "review_history": "Known only since {since}: {names}. Earlier changes of their deals are in no figure, and what they held already counts as seen for the first time.",
    "review_won_elsewhen": "{deals} left as won although their CRM says that they were closed at another time.",
    "review_slipped": "Slipped out of {period}",
    "review_pulled_in": "Pulled into {period}",
    "review_date_set": "Given a close date in {period}",
    "review_date_cleared": "Lost their close date in {period}",
    "review_pushed_in": "Overdue before {period}, now due in it",
    "review_pulled_out": "Moved to before {period}",
    "review_pushed": "Put off",
    "review_pulled": "Pulled in",
    "review_slip": "Due in {period} when it began: what became of it so far",
    "review_fx_missing": "{deals} without an exchange rate are counted, but in no sum.",
    "flow_reason_closed_again": "closed before already, its closing is dated anew",
    "col_outcome_now": "Now",
    "scope_teams": "Teams",
}
