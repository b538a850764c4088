"""Texts of the weekly review, in Japanese."""

# ruff: noqa: E501 - a text stands on one line

TEXTS = {
    "review_title": "パイプラインの変化",
    "review_balance": "オープン案件：期首 {start}、期末 {end}。その間に動いた案件はすべて下にあります。",
    "review_history": "{since} から記録：{names}。それより前の変化は集計に含まれず、すでにあった案件は初めて確認されたものとして数えます。",
    "review_won_elsewhen": "{deals}は受注として離れましたが、CRM の記録では完了日が異なります。",
    "review_slipped": "{period} より後に延期",
    "review_pulled_in": "{period} に前倒し",
    "review_date_set": "{period} の完了予定日を設定",
    "review_date_cleared": "{period} の完了予定日を削除",
    "review_pushed_in": "{period} より前に期限切れ、{period} に変更",
    "review_pulled_out": "{period} より前に変更",
    "review_pushed": "延期",
    "review_pulled": "前倒し",
    "review_slip": "期首に {period} が予定日だった案件のこれまでの結果",
    "review_fx_missing": "為替レートのない{deals}は件数に含み、金額には含みません。",
    "flow_reason_closed_again": "以前に完了済み、完了日が更新",
    "col_outcome_now": "現在",
    "scope_teams": "チーム",
}
