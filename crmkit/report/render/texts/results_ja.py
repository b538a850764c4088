"""Texts of results part by part, and of definitions that report and review share, in Japanese."""

# ruff: noqa: E501 - a text stands on one line

TEXTS = {
    "results_by_month": "月別の結果",
    "results_by_owner": "担当者別の結果",
    "results_by_team": "チーム別の結果",
    "results_by_connection": "CRM別の結果",
    "win_rate_from_stage": "各ステージからの受注率",
    "due_in_period": "期間内に完了予定",
    "created_at_creation": "新規(最初の金額)",
    "chart_trend": "月別の受注・失注・新規",
    "col_window": "対象期間",
    "col_closed_deals": "完了件数",
    "col_won_deals": "受注件数",
    "col_won_amount": "受注額",
    "col_lost_deals": "失注件数",
    "col_lost_amount": "失注額",
    "col_created_deals": "新規件数",
    "col_created_amount": "新規額",
    "col_net_new": "純増",
    "def_results_by_month": "受注と失注は完了日、新規は作成日で集計します。最初と最後の月は対象期間の端で切れます。数字からその月に完了した案件へ移動できます。",
    "formula_results_by_month": "各月の合計 = 対象期間の結果",
    "def_results_parts": "直近の期間と対象期間の結果を、現在案件を持つ人や場所で分けたものです。どの一覧も合計は全体と一致します。名前から完了した案件へ移動できます。",
    "formula_results_parts": "受注率 = 受注 /(受注 + 失注)。重複を除く",
    "def_win_rate_from_stage": "期間内に完了し、一度でもそのステージに入った案件のうち、受注したものです。ステージが分からない案件は除き、補完はしません。",
    "formula_win_rate_from_stage": "そのステージに入った案件の 受注 /(受注 + 失注)",
    "def_conversion": "期間内にステージへ入った案件(最初の1回だけ)のうち、後のステージへ進んだか受注したものと、滞在日数です。ステージ名から、このページに載っている範囲で該当する案件へ移動できます。",
    "formula_conversion": "転換率 = 前進 / 流入、結果の出た分 = 前進 /(前進 + 失注)",
    "def_review_bucket": "ウォーターフォールの同じ名前の棒が数える案件です。開始時と終了時の値を示します。",
    "def_review_slip": "期間の開始時に進行中で期間内に完了予定だった案件と、その現在までの結果です。",
    "formula_review_slip": "ずれ込み = 延期 + 期限超過",
}
