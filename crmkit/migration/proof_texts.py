"""Every text of a proof's page and tables; a language is one more mapping with the same keys."""

from __future__ import annotations

from crmkit.report.render.texts import ENGLISH, Texts

PROOF_ENGLISH: Texts = {
    **ENGLISH,
    "proof_title": "Proof of migration",
    "rows_left_out": "{count} more rows: the saved proof has all of them.",
    "proven": "Proven",
    "explained": "Explained",
    "unproven": "Not proven",
    "proven_words": "Everything in scope is in the target and means the same there.",
    "explained_words": "Something differs, and for every difference it is known why.",
    "unproven_words": "Something differs, and nothing that is known explains it. Look at it first.",
    "verdict": "Verdict",
    "same": "Records that agree",
    "explained_count": "Explained differences",
    "unexplained_count": "Unexplained differences",
    "must_be_zero": "must be 0",
    "record_count": "{count} compared",
    "on_records": "on {count} records",
    "pulled": "pulled",
    "never": "never",
    "settings": "Settings",
    "hash": "Hash",
    "whole": "the record",
    "counts": "Records",
    "sums": "Deals and money",
    "sum_total": "In total",
    "sum_left_out": "Left out by decision",
    "sum_pipeline": "By pipeline",
    "sum_stage": "By stage",
    "sum_owner": "By owner",
    "sum_outcome": "By outcome",
    "sum_month": "By month of creation",
    "links": "Ties between records",
    "agreement": "Agreement by field",
    "left_behind": "Fields that are not carried",
    "explanations": "Why records differ",
    "differences": "Differences",
    "changes": "Changes since the earlier proof",
    "no_changes": "Nothing changed since the earlier proof.",
    "nothing_differs": "Nothing differs.",
    "exact": "Exact figures",
    "no_amount": "no amount",
    "balanced": "equal",
    "off_by": "off by {amount}",
    "col_source": "Source",
    "col_target": "Target",
    "col_source_deals": "Deals, source",
    "col_target_deals": "Deals, target",
    "col_source_amount": "Amount, source",
    "col_target_amount": "Amount, target",
    "col_in_scope": "In scope",
    "col_left_out": "Left out",
    "col_extra": "Extra in the target",
    "col_pre_existing": "There before",
    "col_by": "By",
    "col_group": "Group",
    "col_link": "Tie",
    "col_both": "On both sides",
    "col_not_carried": "Not carried",
    "col_agree": "Agree",
    "col_differ": "Differ",
    "col_inexpressible": "Cannot be expressed",
    "col_why": "Why",
    "col_code": "Code",
    "col_count": "Differences",
    "col_record": "Record",
    "col_change": "Change",
    "col_before": "Before",
    "col_after": "Now",
    "def_proof_counts": (
        "In scope is what the migration's scope names in the source, and the companies, people and notes that"
        " hang on it: linked, missing and left out together. Extra records were made by the migration, and"
        " nothing in scope stands behind them now. There before: linked to a record that the target had"
        " already."
    ),
    "def_proof_sums": (
        "Every deal in scope that is not left out by decision, in the source and in the target, in its own"
        " currency and exact. The source's pipelines and stages stand under the names that they have in the"
        " target; months are those of the creation in the source on both sides."
    ),
    "def_proof_links": (
        "Ties of the records in scope. On both sides are ties between the same two records. A migration"
        " carries a deal's first company and a person's first company."
    ),
    "def_proof_agreement": (
        "Linked records whose values mean the same, in common terms: common stages, owners by e-mail address,"
        " companies and people by who they are, phone numbers without punctuation."
    ),
    "def_proof_left_behind": "Fields that hold values in the source and that the migration does not take.",
}
