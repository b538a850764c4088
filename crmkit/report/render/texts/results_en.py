"""Texts of results part by part, and of definitions that report and review share, in English."""

# ruff: noqa: E501 - a text stands on one line

TEXTS = {
    "results_by_month": "Results by month",
    "results_by_owner": "Results by owner",
    "results_by_team": "Results by team",
    "results_by_connection": "Results by CRM",
    "win_rate_from_stage": "Win rate from each stage",
    "due_in_period": "Due in the period",
    "created_at_creation": "Created, at its first amount",
    "chart_trend": "Won, lost and created by month",
    "col_window": "Window",
    "col_closed_deals": "Closed deals",
    "col_won_deals": "Won deals",
    "col_won_amount": "Won",
    "col_lost_deals": "Lost deals",
    "col_lost_amount": "Lost",
    "col_created_deals": "Created deals",
    "col_created_amount": "Created",
    "col_net_new": "Net new",
    "def_results_by_month": "What was won and lost by the day of closing, and created by the day of creation; the first and the last month end with the window. A figure leads to the deals closed then.",
    "formula_results_by_month": "the months add up to the results of the window",
    "def_results_parts": "The results of the trailing window and of the period by who has the deals now: every list adds up to the whole. A name leads to the deals closed.",
    "formula_results_parts": "win rate = won / (won + lost), duplicates left out",
    "def_win_rate_from_stage": "Of the deals closed in the window that ever entered a stage, those that were won. Deals of which no stage is known are left out, and nothing is filled in.",
    "formula_win_rate_from_stage": "won / (won + lost) among deals that entered the stage",
    "def_conversion": "Of the deals that entered a stage in the window, each at its first entry, those that went on to a later one or were won; the days that deals spent in it. A stage leads to the deals that entered it, as far as this page carries them.",
    "formula_conversion": "conversion = went on / entered; of decided ones = went on / (went on + lost)",
    "def_review_bucket": "The deals that the bar of this name in the waterfall counts, with what they were at the start and at the end.",
    "def_review_slip": "The deals that were open and due in the period when it began, and what became of each so far.",
    "formula_review_slip": "slipped = pushed + overdue",
}
