"""Whole pipelines as CRMs show them, each stage with the common stage an expert would choose.

Written down before the suggester. `TUNED` may be used to improve the word lists,
`HELD_OUT` may not: its score is the honest one.

Defaults come from the vendors: the stages a new account is born with, as their
documentation and recorded answers show them (2026-11). The others follow the
naming that sales teams use in seven languages, with the usual dirt: numbers,
percentages, emoji, typing errors, abbreviations.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

from crmkit.model import Kind, Outcome, Pipeline, Ref, Stage


@dataclass(frozen=True)
class Named:
    """One stage: what the CRM holds, and the right answer (`None`: nobody can know)."""

    name: str
    expected: str | None
    percent: int | None = None
    outcome: Outcome = Outcome.OPEN


@dataclass(frozen=True)
class Case:
    """One pipeline of one account."""

    title: str
    pipeline: str
    stages: tuple[Named, ...]

    def as_pipeline(self) -> Pipeline:
        """What a connector would hand over; stage ids say nothing, as in a real account."""
        return Pipeline(
            ref=Ref("test", Kind.PIPELINE, self.title),
            name=self.pipeline,
            stages=tuple(
                Stage(
                    id=f"s{index}",
                    name=stage.name,
                    order=index * 10,
                    outcome=stage.outcome,
                    probability=None if stage.percent is None else Decimal(stage.percent) / 100,
                )
                for index, stage in enumerate(self.stages)
            ),
        )


def won(name: str, expected: str | None = "won", percent: int | None = None) -> Named:
    """A stage whose category is won."""
    return Named(name, expected, percent, Outcome.WON)


def lost(name: str, expected: str | None = "lost", percent: int | None = None) -> Named:
    """A stage whose category is lost."""
    return Named(name, expected, percent, Outcome.LOST)


def case(
    title: str, pipeline: str, *stages: Named | tuple[str, str | None] | tuple[str, str | None, int]
) -> Case:
    """A pipeline; open stages may be written as plain tuples."""
    return Case(
        title, pipeline, tuple(stage if isinstance(stage, Named) else Named(*stage) for stage in stages)
    )


DEFAULTS = (
    case(
        # The appointment comes before anybody knows whether the buyer qualifies.
        "hubspot default",
        "Sales Pipeline",
        ("Appointment Scheduled", "prospecting", 20),
        ("Qualified To Buy", "qualification", 40),
        ("Presentation Scheduled", "meeting", 60),
        ("Decision Maker Bought-In", "negotiation", 80),
        ("Contract Sent", "negotiation", 90),
        won("Closed Won", percent=100),
        lost("Closed Lost", percent=0),
    ),
    case(
        "bitrix24 default",
        "General",
        ("New", "prospecting"),
        ("Document preparation", "proposal"),
        ("Prepayment invoice", "negotiation"),
        ("In progress", "negotiation"),
        ("Final invoice", "negotiation"),
        won("Deal successful"),
        lost("Deal failed"),
        lost("Failure reason analysis"),
    ),
    case(
        "bitrix24 default, German",
        "Allgemein",
        ("Neu", "prospecting"),
        ("Dokumente vorbereiten", "proposal"),
        ("Rechnung Vorauszahlung", "negotiation"),
        ("In Bearbeitung", "negotiation"),
        ("Endrechnung", "negotiation"),
        won("Auftrag erfolgreich"),
        lost("Auftrag verloren"),
        lost("Ursache analysieren"),
    ),
    case(
        "bitrix24 default, Russian",
        "Общая",
        ("Новая", "prospecting"),
        ("Подготовка документов", "proposal"),
        ("Cчёт на предоплату", "negotiation"),
        ("В работе", "negotiation"),
        ("Финальный счёт", "negotiation"),
        won("Сделка успешна"),
        lost("Сделка провалена"),
        lost("Анализ причины провала"),
    ),
    case(
        # One open stage for the whole way: no name and no neighbour tells how far a deal is.
        "close default",
        "Sales",
        ("Active", None),
        won("Won"),
        lost("Lost"),
    ),
    case(
        "zoho default",
        "Standard (Standard)",
        ("Qualification", "qualification", 10),
        ("Needs Analysis", "qualification", 20),
        ("Value Proposition", "meeting", 40),
        ("Identify Decision Makers", "meeting", 60),
        ("Proposal/Price Quote", "proposal", 75),
        ("Negotiation/Review", "negotiation", 90),
        won("Closed Won", percent=100),
        lost("Closed Lost", percent=0),
        lost("Closed Lost to Competition", percent=0),
    ),
    case(
        "copper default, sales",
        "Sales",
        ("Qualified", "qualification", 5),
        ("Follow-up", "qualification", 10),
        ("Presentation", "meeting", 20),
        ("Contract Sent", "proposal", 40),  # the talks about it follow
        ("Negotiation", "negotiation", 80),
    ),
    case(
        "copper default, business development",
        "Business Development",
        ("First Meeting", "meeting", 10),
        ("Partner Meeting", "meeting", 25),
        ("Negotiation", "negotiation", 50),
        ("Term Sheet", "negotiation", 75),
    ),
)

TUNED = (
    case(
        "English, numbered",
        "Enterprise sales",
        ("1. Lead In", "prospecting", 5),
        ("2. Discovery Call", "qualification", 15),
        ("3. Proposal sent", "proposal", 50),
        ("4. Negotiation 75%", "negotiation", 75),
        won("5. Closed Won", percent=100),
        lost("6. Closed Lost", percent=0),
    ),
    case(
        "English, typing errors",
        "Sales",
        ("prospectng", "prospecting"),
        ("Qualfied", "qualification"),
        ("Demo schedulled", "meeting"),
        ("Propsal Sent", "proposal"),
        ("Negotation", "negotiation"),
        won("Won"),
        lost("Lost"),
    ),
    case(
        "English, emoji",
        "🚀 Inbound",
        ("🌱 New lead", "prospecting"),
        ("☎️ Contacted", "prospecting"),
        ("✅ SQL", "qualification"),
        ("🖥️ Demo", "meeting"),
        ("📄 Quote sent", "proposal"),
        ("🤝 Verbal OK", "negotiation"),
        won("🎉 Won"),
        lost("💀 Lost"),
        lost("🚫 Unqualified"),
    ),
    case(
        "English, abbreviations",
        "NA - Mid-market",
        ("MQL", "prospecting", 1),
        ("SAL / SQL", "qualification", 10),
        ("BANT done", "qualification", 20),
        ("POC / Trial", "meeting", 40),
        ("RFP answered", "proposal", 55),
        ("T&Cs / LEGAL REVIEW", "negotiation", 75),
        ("PO expected", "negotiation", 95),
        won("CLOSED - WON", percent=100),
        lost("Lost to competitor", percent=0),
        lost("No decision", percent=0),
        lost("Duplicate", percent=0),
    ),
    case(
        "English, vague words",
        "Deals",
        ("New", "prospecting"),
        ("In progress", "qualification"),
        ("Quote sent", "proposal"),
        ("Awaiting signature", "negotiation"),
        won("Done"),
        lost("Rejected"),
    ),
    case(
        "English, renewals",
        "Renewals 2026",
        ("Upcoming", "post_purchase", 50),
        ("Renewal quote sent", "post_purchase", 70),
        ("In negotiation", "post_purchase", 80),
        won("Renewed", "post_purchase", 100),
        lost("Churned", percent=0),
    ),
    case(
        "English, onboarding",
        "Customer Onboarding",
        ("Kick-off", "post_purchase"),
        ("Training", "post_purchase"),
        won("Live", "post_purchase"),
        lost("Cancelled"),
    ),
    case(
        "English, life after the sale in the same pipeline",
        "New business",
        ("Prospect", "prospecting", 5),
        ("Needs assessment", "qualification", 20),
        ("Solution presentation", "meeting", 35),
        ("Offer", "proposal", 50),
        ("Commit", "negotiation", 90),
        won("Won", percent=100),
        won("Onboarding", "post_purchase", percent=100),
        won("Upsell", "post_purchase", percent=100),
        lost("Lost - price", percent=0),
        lost("Lost – timing", percent=0),
    ),
    case(
        "English, names that contradict the category",
        "Partners",
        ("Qualified", "qualification"),
        ("Meeting booked", "meeting"),
        ("Proposal", "proposal"),
        ("Lost", None),
        ("On hold", None),
        won("Signed"),
        lost("Dead"),
    ),
    case(
        "English, out of order",
        "Tenders",
        ("Qualified", "qualification"),
        ("Negotiation", "negotiation"),
        ("Proposal sent", "proposal"),
        won("Closed won"),
        lost("Closed lost"),
    ),
    case(
        "German",
        "Vertrieb DACH",
        ("Neukontakt", "prospecting", 5),
        ("Erstgespräch", "qualification", 10),
        ("Bedarfsanalyse", "qualification", 20),
        ("Präsentation", "meeting", 40),
        ("Angebot versendet", "proposal", 60),
        ("Verhandlung", "negotiation", 80),
        ("Vertrag beim Kunden", "negotiation", 90),
        won("Gewonnen", percent=100),
        lost("Verloren", percent=0),
    ),
    case(
        "German, typing errors",
        "Vertrieb",
        ("Kaltakquise", "prospecting"),
        ("Quallifizierung", "qualification"),
        ("Termin vereinbart", "meeting"),
        ("Anegbot erstellt", "proposal"),
        ("Vertragsverhandlng 80 %", "negotiation"),
        ("Mündliche Zusage", "negotiation"),
        won("Auftrag erteilt"),
        lost("Absage"),
    ),
    case(
        "German, renewal",
        "Vertragsverlängerung",
        ("Verlängerung fällig", "post_purchase"),
        ("Angebot gesendet", "post_purchase"),
        won("Verlängert", "post_purchase"),
        lost("Gekündigt"),
    ),
    case(
        "French",
        "Ventes",
        ("Prospection", "prospecting", 5),
        ("Qualification des besoins", "qualification", 15),
        ("RDV planifié", "meeting", 30),
        ("Démo réalisée", "meeting", 40),
        ("Devis envoyé", "proposal", 60),
        ("Négociation", "negotiation", 75),
        ("Accord verbal", "negotiation", 90),
        won("Gagnée", percent=100),
        lost("Perdue", percent=0),
    ),
    case(
        "French, second",
        "Pipeline commercial",
        ("Nouveau", "prospecting"),
        ("Prise de contact", "prospecting"),
        ("Découverte", "qualification"),
        ("Proposition commerciale", "proposal"),
        ("En attente de signature", "negotiation"),
        won("Signé"),
        lost("Sans suite"),
        lost("Abandonné"),
    ),
    case(
        "Spanish",
        "Ventas",
        ("Prospecto", "prospecting", 10),
        ("Calificado", "qualification", 20),
        ("Reunión agendada", "meeting", 40),
        ("Cotización enviada", "proposal", 60),
        ("En negociación", "negotiation", 80),
        won("Ganado", percent=100),
        lost("Perdido", percent=0),
    ),
    case(
        "Spanish, second",
        "Oportunidades",
        ("Contacto inicial", "prospecting"),
        ("Análisis de necesidades", "qualification"),
        ("Presentación de la solución", "meeting"),
        ("Propuesta económica", "proposal"),
        ("Revisión de contrato", "negotiation"),
        won("Cierre ganado"),
        lost("Cierre perdido"),
    ),
    case(
        "Portuguese",
        "Funil de vendas",
        ("Leads novos", "prospecting"),
        ("Qualificação", "qualification"),
        ("Visita agendada", "meeting"),
        ("Proposta enviada", "proposal"),
        ("Negociaçao", "negotiation"),
        won("Fechado - ganho"),
        lost("Fechado - perdido"),
    ),
    case(
        "Portuguese, second",
        "Comercial",
        ("Primeiro contato", "prospecting"),
        ("Levantamento de necessidades", "qualification"),
        ("Apresentação", "meeting"),
        ("Orçamento", "proposal"),
        ("Assinatura do contrato", "negotiation"),
        won("Ganho"),
        lost("Perdido"),
    ),
    case(
        "Russian",
        "Воронка",
        ("Первичный контакт", "prospecting"),
        ("Переговоры", "negotiation"),
        ("Принимают решение", "negotiation"),
        ("Согласование договора", "negotiation"),
        won("Успешно реализовано"),
        lost("Закрыто и не реализовано"),
    ),
    case(
        "Russian, second",
        "Продажи",
        ("Холодный звонок", "prospecting"),
        ("Квалификация", "qualification"),
        ("Встреча назначена", "meeting"),
        ("КП отправлено", "proposal"),
        ("Согласование условий", "negotiation"),
        ("Договор на подписи", "negotiation"),
        won("Оплачено"),
        lost("Отказ"),
    ),
    case(
        "Japanese",
        "営業",
        ("見込み", "prospecting", 10),
        ("アプローチ", "prospecting", 10),
        ("ヒアリング", "qualification", 30),
        ("商談", "meeting", 40),
        ("提案", "proposal", 60),
        ("見積提出", "proposal", 70),
        ("交渉", "negotiation", 80),
        won("受注", percent=100),
        lost("失注", percent=0),
    ),
    case(
        "Japanese, half-width and mixed",
        "パイプライン",
        ("①リード獲得", "prospecting"),
        ("②初回訪問", "meeting"),
        ("③ﾃﾞﾓ実施", "meeting"),
        ("④見積もり提示", "proposal"),
        ("⑤最終調整", "negotiation"),
        won("⑥受注"),
        lost("⑦失注"),
    ),
)
