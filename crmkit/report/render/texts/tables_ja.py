"""The Japanese texts of tables, of outputs for other programs, and of notifications."""

from __future__ import annotations

TEXTS = {
    "columns_left_out": "ほか{count}列は、幅の広い端末、またはJSONとCSVの出力にあります。",
    "rows_cut": "シートに入りきらない行が{count}行あります。ParquetとCSVの出力にはすべてあります。",
    # settings of a report
    "parameters": "集計の条件",
    "col_setting": "設定",
    "setting_as_of": "基準時刻",
    "setting_as_of_date": "レポートの日付",
    "setting_time_zone": "タイムゾーン",
    "setting_report_currency": "通貨",
    "setting_amount_basis": "継続課金の金額",
    "setting_as_entered": "入力どおり",
    "setting_annualised": "月額は12倍",
    "setting_fiscal_start_month": "会計年度の開始月",
    "setting_stale_days": "停滞とみなす日数",
    "setting_stale_warning_days": "停滞の注意を出す日数",
    "setting_record_order": "優先するCRM",
    "setting_last_modified": "最後に更新されたもの",
    "setting_scope": "対象",
    "setting_everything": "すべて",
    "setting_records": "読み込んだレコード",
    "setting_deals": "集計した案件",
    # notifications
    "notify_change": "{day}から{change}",
    "notify_waiting": "対応待ち",
    "notify_unmapped": "共通ステージのないステージ: {count}",
    "notify_rates": "為替レートのない金額: {count}",
    "notify_errors": "矛盾のある案件: {count}",
    "notify_nothing": "対応待ちはありません。",
    "notify_report": "レポート全文",
    "notify_stale_deals": "金額の大きい停滞案件",
}
