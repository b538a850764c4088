"""The words of sales stages in seven languages, by what they say about a deal.

Terms are separated by `;`. `*` stands for any letters at that end of a word, so that
one stem covers its inflections and compounds. Terms are written without accents
(names are folded the same way) and match whole words in this order, except Japanese,
which has no spaces and matches anywhere. A longer term outweighs the shorter ones
inside it.
"""

from __future__ import annotations

from collections.abc import Mapping

WON, LOST = "won", "lost"
"""Words of an outcome; the category decides outcomes, so these only tell of clashes."""

PARKED = "parked"
"""Words of a deal that rests: they say nothing about how far it is."""

VAGUE = "vague"
"""Words that fit any running deal."""

NEW_SALE = "new_sale"
"""Words in a pipeline's name that speak of a first sale."""

POST_PURCHASE = "post_purchase"
"""Words of the time after the sale; also the id of that common stage."""

SECOND_SALE = (
    *("renew", "upsell", "up", "cross", "expansion", "existing", "win", "winback", "reactivation"),
    *("verlanger", "vertragsverlanger", "bestandskund", "zusatzverkauf", "ruckgewinnung"),
    *("renouvell", "reconduction", "vente", "client", "renovac", "renovad", "venta", "venda", "recompra"),
    *("продлени", "допродаж", "повторн", "更新", "契約更新", "アップセル", "クロスセル", "既存"),
)
"""Beginnings of after-sale terms that name a sale to a customer: such a pipeline may have the
steps of a first sale, while a pipeline named "Training" with those steps sells trainings."""

TERMS: Mapping[str, Mapping[str, str]] = {
    "English": {
        "prospecting": (
            "new; new lead*; new deal*; new opportunit*; new enquiry; new inquiry; new request*; lead; "
            "leads; lead in; lead gen*; inbound; outbound; outreach; incoming; inquiry; enquiry; inbox; "
            "backlog; mql; prospect; prospects; prospecting; prospected; cold; cold call*; cold outreach; "
            "target*; identified; suspect; suspects; unassigned; to contact; contact; contacted; "
            "contact made; contacting; first contact; initial contact; contact attempted; attempted; "
            "reached out; connected; nurtur*; warm lead; intake; assigned; unqualified; not qualified; "
            "interest*; interested; engaged; awareness; email sent; follow up with lead; sourcing; "
            "sourced; researching"
        ),
        "qualification": (
            "qualif*; qualified; qualify; qualification; qualifying; qualified to buy; qualified lead; "
            "sql; sal; bant; meddic; meddpicc; discovery; discovery call; discovery meeting; discover; "
            "needs; need; needs analysis; needs assessment; need identified; needs identified; "
            "needs discovery; need analysis; assessment; requirement*; requirements gathering; "
            "requirements meeting; scoping; scope; scoped; intro call; introductory call; "
            "qualification call; screening; screening call; first call; exploration; exploratory call; "
            "fit; fit check; budget confirmed; pain identified; champion identified; diagnos*; analysis; "
            "opportunity; opportunity identified; phone screen; feasibility; evaluating fit; intro; "
            "call scheduled; call booked; call; vetting; vetted; accepted lead; stakeholder mapping; "
            "site survey"
        ),
        "meeting": (
            "meeting*; meeting scheduled; meeting booked; meeting set; first meeting; demo; demos; "
            "demonstration*; product demo; demo scheduled; demo done; demo completed; presentation*; "
            "presented; presentation scheduled; solution presentation; solution design; solution; "
            "value presentation; visit; site visit; on site; onsite; workshop*; walkthrough; tour; "
            "showing; viewing; poc; proof of concept; pilot; trial; trialing; free trial; evaluation; "
            "evaluating; technical evaluation; technical validation; validation; proof; develop; "
            "developing; consultation; webinar; solution fit; technical fit; tech fit; technical review; "
            "pitch; pitched; test drive; sample sent; samples sent"
        ),
        "proposal": (
            "proposal*; propose; proposed; proposing; proposition; proposal sent; proposal made; "
            "proposal review; proposal presented; proposal presentation; proposal price quote; "
            "price quote; quote*; quoted; quoting; quotation*; estimate*; estimation; offer*; offered; "
            "rfp; rfq; rfi; tender*; bid; bids; bidding; bid submitted; pricing; price*; pricing sent; "
            "price sent; pricing shared; document preparation; preparing documents; business case; sow; "
            "sow sent; statement of work; shortlist*; short listed; proposal meeting; quote meeting; "
            "proposal requested; quote requested; draft contract; scope and price; rfp answered; "
            "commercial*"
        ),
        "negotiation": (
            "negotiat*; negotiation; negotiations; negotiating; in negotiation; negotiation review; "
            "contract*; contracting; contract review; contract signed; contract out; contract negotiation; "
            "legal; legal review; redlin*; procurement; security review; infosec; compliance; purchasing; "
            "purchase order; po; po expected; po received; verbal*; verbal ok; verbal yes; verbal commit*; "
            "verbal agreement; handshake; commit; committed; commitment; bought in; "
            "decision maker bought in; decision*; decision pending; awaiting decision; awaiting approval; "
            "approval; pending approval; proposal accepted; quote accepted; offer accepted; "
            "quote approved; proposal approved; term sheet; terms; terms agreed; t c; t cs; "
            "terms and conditions; letter of intent; loi; mou; signature; signatures; awaiting signature; "
            "out for signature; sent for signature; signed; to sign; signing; close; closing; to close; "
            "final*; final review; final approval; finalizing; finalising; invoice*; invoiced; prepayment; "
            "deposit; payment*; awaiting payment; due diligence; underwriting; board approval; "
            "budget approval; economic buyer; selected; vendor of choice; vendor selected; best and final; "
            "objection*; handling objections; paperwork; agreement; agreement sent; in contract; "
            "under contract; ready to close"
        ),
        WON: (
            "won; closed won; closed; win; deal successful; success; successful; done; paid; complete; "
            "completed"
        ),
        LOST: (
            "lost; closed lost; loss; dead; deal failed; failed; rejected; declined; disqualified; "
            "abandoned; cancelled; canceled; churned; no decision; duplicate; junk; spam; not interested; "
            "no go; no response; ghosted; went cold; gone cold; lost to competitor"
        ),
        PARKED: (
            "on hold; hold; paused; pause; parked; parking; parking lot; frozen; dormant; later; "
            "postponed; deferred; delayed; stalled; snoozed; waiting; someday; future; not now; pushed; "
            "revisit"
        ),
        VAGUE: (
            "active; open; in progress; progress; working; work; follow up; following up; followup; "
            "ongoing; pending; other; misc; default; in process; processing; running; in work; pipeline; "
            "stage; step; phase; deal; sales; review; to do"
        ),
        POST_PURCHASE: (
            "onboarding; onboard; onboarded; renewal*; renew; renewed; upsell*; up sell; cross sell; "
            "cross selling; crosssell; expansion; kick off; kickoff; go live; live; implementation; "
            "implementing; deployment; delivery; delivered; handover; hand off; handoff; customer success; "
            "aftercare; after sales; aftersales; post sale; post sales; post purchase; retention; "
            "adoption; training; reactivation; win back; winback; fulfillment; fulfilment; shipped; "
            "installed; installation; existing customer*; customer; support; account management; churn; "
            "testimonial; review request"
        ),
        NEW_SALE: "new; sales; acquisition; new business; prospecting; outbound; inbound",
    },
    "German": {
        "prospecting": (
            "neu; neue; neuer; neuer lead; neukontakt*; neukunde*; erstkontakt*; interessent*; anfrage*; "
            "eingang; eingegangen; kaltakquise; akquise; kontakt*; kontaktiert; kontakt aufgenommen; "
            "kontaktaufnahme; kontaktversuch; angesprochen; ansprache; vorqualifizierung; zielkunde*; "
            "potenzial*; verdacht; anbahnung"
        ),
        "qualification": (
            "qualifizier*; qualifizierung; qualifikation; bedarf*; bedarfsanalyse; bedarfsermittlung; "
            "bedarfsklarung; analyse; anforderung*; anforderungsanalyse; vorgesprach; kennenlern*; "
            "kennenlerngesprach; erstberatung; prufung; machbarkeit*; klarung; budget geklart; telefonat; "
            "chance; vorprufung; discovery gesprach"
        ),
        "meeting": (
            "termin; termine; termin vereinbart; prasentation*; prasentiert; vorfuhrung; vorstellung; "
            "vor ort; vor ort termin; ortstermin; besichtigung; besuch*; beratung*; beratungsgesprach; "
            "gesprach; demotermin; testphase; teststellung; pilotphase; losungs*; bemusterung; muster; "
            "vorstellungsgesprach"
        ),
        "proposal": (
            "angebot*; angebot erstellt; angebot versendet; angebotsphase; offert*; kostenvoranschlag; "
            "kva; ausschreibung*; kalkulation; dokumente vorbereiten; dokumentvorbereitung; vorschlag; "
            "preisangebot; preisanfrage; angebot nachfassen; konzept; richtpreis*"
        ),
        "negotiation": (
            "*verhandl*; verhandlung; verhandlungen; vertrag*; vertragsverhandlung; vertragsprufung; "
            "vertrag beim kunden; *rechnung*; anzahlung; vorauszahlung; mundliche zusage; zusage; "
            "abschluss*; vor abschluss; entscheidung*; unterschrift*; unterzeichn*; freigabe; "
            "angebot angenommen; einkauf; bestellung erwartet; budgetfreigabe; rechtsprufung; "
            "juristische prufung; auftragsklarung; absichtserklarung; letzte details; konditionen; signatur"
        ),
        WON: (
            "gewonnen; auftrag erfolgreich; auftrag erteilt; erfolgreich; abgeschlossen; auftrag; beauftragt"
        ),
        LOST: (
            "verloren; auftrag verloren; absage; abgesagt; abgelehnt; verworfen; kein interesse; "
            "storniert; gekundigt; gescheitert; disqualifiziert; ursache analysieren"
        ),
        PARKED: (
            "pausiert; zuruckgestellt; ruhend; wiedervorlage; wartend; spater; auf eis; geparkt; verschoben"
        ),
        VAGUE: (
            "in bearbeitung; bearbeitung; offen; laufend; aktiv; nachfassen; in arbeit; sonstige; phase; "
            "stufe"
        ),
        POST_PURCHASE: (
            "*verlanger*; verlangerung; vertragsverlangerung; bestandskunde*; einfuhrung; inbetriebnahme; "
            "ubergabe; auslieferung; lieferung; schulung; empfehlung*; kundenbetreuung; zusatzverkauf; "
            "nachbetreuung; umsetzung; implementierung; einarbeitung; ruckgewinnung"
        ),
        NEW_SALE: "neukunde*; neugeschaft; vertrieb; verkauf; akquise",
    },
    "French": {
        "prospecting": (
            "nouveau; nouvelle; nouveaux; nouveau lead; prospection; prospect; piste*; prise de contact; "
            "contacte; contact etabli; premier contact; contact initial; a contacter; demande entrante; "
            "demande recue; appel a froid; entrant; cible*; interesse; a prospecter"
        ),
        "qualification": (
            "qualifi*; qualification; qualifie; decouverte; appel decouverte; rendez vous decouverte; "
            "rdv decouverte; besoin*; analyse des besoins; analyse du besoin; besoin identifie; etude; "
            "etude des besoins; etude du besoin; cadrage; diagnostic; evaluation du besoin; "
            "prequalification; expression de besoin; recueil du besoin; opportunite"
        ),
        "meeting": (
            "rdv*; rendez vous; reunion*; demo*; demonstration*; presentation*; visite*; entretien*; "
            "atelier; essai; pilote; rdv planifie; rencontre; soutenance; rendez vous pris; maquette"
        ),
        "proposal": (
            "devis; devis envoye; propos*; proposition; proposition commerciale; proposition envoyee; "
            "proposition faite; offre*; offre envoyee; chiffrage; appel d offres; estimation; tarif*; "
            "preparation des documents; cotation; short list"
        ),
        "negotiation": (
            "negociation*; negociations; en negociation; nego; contrat*; accord verbal; accord; "
            "accord de principe; signature; en attente de signature; signe; signee; decision*; "
            "prise de decision; validation*; validation juridique; juridique; bon de commande; engagement; "
            "acompte; facture*; closing; en cours de signature; finalisation; lettre d intention; "
            "devis accepte; conclusion; achats; arbitrage"
        ),
        WON: "gagne; gagnee; gagnes; conclu; conclue; vendu; cloture; reussi",
        LOST: (
            "perdu; perdue; sans suite; abandonne; abandonnee; refuse; refusee; annule; annulee; resilie; "
            "doublon"
        ),
        PARKED: ("en attente; en pause; reporte; suspendu; plus tard; gele; a relancer plus tard; stand by"),
        VAGUE: "en cours; actif; ouvert; relance; a relancer; suivi; en traitement; autre; etape",
        POST_PURCHASE: (
            "renouvellement*; reconduction; integration; mise en service; mise en place; fidelisation; "
            "parrainage; deploiement; livraison; livre; formation; client existant; clients existants; "
            "montee en gamme; vente additionnelle; ventes additionnelles; apres vente; recommandation; "
            "lancement; accompagnement"
        ),
        NEW_SALE: "ventes; nouveaux clients; conquete; prospection; commercial",
    },
    "Spanish": {
        "prospecting": (
            "nuevo; nueva; nuevos; nuevo lead; prospecto*; prospeccion; prospectos; contacto*; "
            "contacto inicial; primer contacto; contactado; contacto realizado; interesad*; "
            "llamada en frio; lead nuevo; por contactar; captacion; consulta recibida; solicitud recibida; "
            "solicitud; identificado"
        ),
        "qualification": (
            "calific*; calificado; calificacion; cualific*; cualificado; cualificacion; necesidad*; "
            "analisis de necesidades; deteccion de necesidades; levantamiento*; diagnostico; "
            "descubrimiento; analisis; llamada de descubrimiento; requerimiento*; requisitos; exploracion; "
            "evaluacion; oportunidad; precalificado"
        ),
        "meeting": (
            "reunion*; reunion agendada; cita; citas; demo*; demostracion*; presentacion*; visita*; "
            "prueba*; piloto; presentacion de la solucion; entrevista; taller; reunion programada"
        ),
        "proposal": (
            "propuesta*; propuesta enviada; propuesta economica; cotizacion*; cotizado; "
            "cotizacion enviada; presupuest*; presupuesto enviado; oferta*; oferta enviada; licitacion*; "
            "preparacion de documentos; estimacion; tarifa*; precio*"
        ),
        "negotiation": (
            "negociacion*; negociando; en negociacion; negociaciones; contrato*; revision de contrato; "
            "revision legal; legal; firma*; pendiente de firma; firmado; compromiso*; acuerdo*; "
            "acuerdo verbal; decision*; toma de decision; orden de compra; anticipo; factura*; cierre; "
            "por cerrar; aprobacion; propuesta aceptada; en cierre; compromiso verbal; carta de intencion; "
            "objeciones"
        ),
        WON: "ganado; ganada; cierre ganado; cerrado ganado; cerrado; vendido; exito; cerrada",
        LOST: (
            "perdido; perdida; cierre perdido; cerrado perdido; rechazado; descartado; cancelado; "
            "cancelada; abandonado"
        ),
        PARKED: ("en espera; pausado; en pausa; pospuesto; aplazado; congelado; mas adelante; suspendido"),
        VAGUE: (
            "en curso; en proceso; activo; abierto; seguimiento; en seguimiento; otro; otros; etapa; "
            "pendiente"
        ),
        POST_PURCHASE: (
            "renovacion*; incorporacion; implementacion; puesta en marcha; postventa; posventa; "
            "post venta; referid*; entrega*; fidelizacion; venta cruzada; capacitacion; clientes actuales; "
            "renovado; recompra; implantacion; bienvenida"
        ),
        NEW_SALE: "ventas; nuevos clientes; captacion; comercial",
    },
    "Portuguese": {
        "prospecting": (
            "novo; nova; novos; leads novos; novo lead; prospec*; prospeccao; prospect; contato*; "
            "primeiro contato; contato inicial; contato feito; contatado; contacto inicial; interessad*; "
            "ligacao fria; entrada; lead recebido; a contatar; tentativa de contato; abordagem"
        ),
        "qualification": (
            "qualific*; qualificacao; qualificado; levantamento*; levantamento de necessidades; "
            "necessidade*; diagnostico; descoberta; analise de necessidades; requisitos; entendimento; "
            "oportunidade; mapeamento; pre qualificacao"
        ),
        "meeting": (
            "reuniao*; reuniao agendada; reuniao marcada; visita*; demo*; demonstracao*; apresentacao*; "
            "apresentado; piloto; teste; entrevista; reunioes"
        ),
        "proposal": (
            "proposta*; proposta enviada; proposta comercial; envio de proposta; orcamento*; "
            "orcamento enviado; cotacao; oferta*; licitacao; preparacao de documentos; "
            "elaboracao de proposta; estimativa"
        ),
        "negotiation": (
            "negociac*; negociacao; em negociacao; negociacoes; contrato*; assinatura*; "
            "assinatura do contrato; aguardando assinatura; assinado; fechamento; em fechamento; decisao; "
            "tomada de decisao; acordo*; acordo verbal; pedido de compra; aprovacao; juridico; "
            "analise juridica; fatura*; sinal; compromisso; proposta aceita; objecoes"
        ),
        WON: "ganho; ganha; fechado ganho; fechado; vendido; venda realizada; concluido",
        LOST: (
            "perdido; perdida; fechado perdido; recusado; cancelado; descartado; desistiu; desqualificado"
        ),
        PARKED: "em espera; pausado; adiado; congelado; stand by; mais tarde; suspenso",
        VAGUE: ("em andamento; em curso; ativo; aberto; follow up; acompanhamento; outro; outros; etapa"),
        POST_PURCHASE: (
            "renovac*; renovacao; implantacao; implementacao; pos venda; indicac*; entrega; treinamento; "
            "fidelizacao; venda cruzada; clientes atuais; integracao; boas vindas"
        ),
        NEW_SALE: "vendas; novos negocios; novos clientes; prospeccao; comercial",
    },
    "Russian": {
        "prospecting": (
            "новый; новая; новое; новые; новый лид; лид; лиды; первичн* контакт; контакт*; первый контакт; "
            "холодн* звонок; холодн*; заявк*; новая заявка; обращени*; входящ*; неразобранное; "
            "потенциальн*; интерес*; поиск*; взят* контакт"
        ),
        "qualification": (
            "квалифи*; квалификация; квалифицирован; выявлени* потребност*; потребност*; "
            "анализ потребност*; анализ; знакомств*; бриф*; брифинг; опрос; сбор требований; требования; "
            "диагностик*; первичная консультация; предварительн*; звонок*; возможность"
        ),
        "meeting": (
            "встреч*; встреча назначена; презентац*; демо*; демонстрац*; показ*; визит*; выезд*; "
            "консультац*; пилот*; тест*; замер*; вебинар*; пробн*; осмотр*"
        ),
        "proposal": (
            "кп; кп отправлено; предложени*; коммерческ* предложени*; расчет*; смет*; тендер*; "
            "подготовка документов; подготовка предложения; подготовка кп; ценов*; прайс*; оценк*; "
            "выставлено предложение"
        ),
        "negotiation": (
            "переговор*; согласован*; согласование договора; согласование условий; договор*; контракт*; "
            "подписан*; на подписи; принимают решение; приняти* решени*; решени*; торг; торги; дожим; "
            "счет*; предоплат*; аванс*; оплат*; ожида* оплат*; юрист*; утвержден*; закрыти*; устн*; "
            "возражени*; финальн*"
        ),
        WON: (
            "успешно; успешна; успешно реализовано; сделка успешна; выиграна; выиграно; продано; "
            "завершено; оплачено"
        ),
        LOST: (
            "отказ*; проиграна; проиграно; сделка провалена; закрыто и не реализовано; не реализовано; "
            "анализ причины провала; провал*; потеряна; потеряно; отменен*; некачественн*"
        ),
        PARKED: "отложен*; пауза; на паузе; заморожен*; позже; ожидание; думают позже",
        VAGUE: (
            "в работе; в процессе; активн*; открыт*; прочее; этап; в обработке; обработка; сделка; общая"
        ),
        POST_PURCHASE: (
            "продлени*; онбординг; внедрени*; допродаж*; сопровождени*; рекомендац*; постпродаж*; "
            "доставк*; отгруз*; обучени*; запуск; повторн* продаж*; повторные продажи; монтаж"
        ),
        NEW_SALE: "продажи; новые клиенты; привлечение",
    },
    "Japanese": {
        "prospecting": (
            "見込み; 見込; 見込み客; 新規; リード; リード獲得; 問い合わせ; 問合せ; 引き合い; アプローチ; "
            "初回接触; 初回コンタクト; コンタクト; 接触; テレアポ; 架電; 開拓; 未対応; ターゲット; "
            "見込み調査"
        ),
        "qualification": (
            "ヒアリング; ニーズ; ニーズの把握; ニーズ確認; ニーズ分析; 課題; 課題確認; 課題把握; 要件; "
            "要件定義; 要件確認; 案件化; 有効; 適格; 評価; 予算確認; 資格; 情報収集; 検証"
        ),
        "meeting": (
            "商談; 訪問; 初回訪問; 面談; 打ち合わせ; 打合せ; デモ; デモ実施; プレゼン; ミーティング; "
            "説明会; トライアル; アポ; アポイント; 会議; 体験; 試用; 製品紹介; デモンストレーション"
        ),
        "proposal": (
            "提案; 提案書; 提案中; 見積; 見積もり; 見積提出; 見積書; 価格; 入札; コンペ; 資料準備; 稟議用資料"
        ),
        "negotiation": (
            "交渉; 価格交渉; 条件交渉; 最終交渉; 最終調整; 最終; 調整; 内示; 契約; 契約書; 契約手続; 稟議; "
            "決裁; 内諾; 口頭合意; 合意; クロージング; 締結; 請求; 前払い; 発注待ち; 検討; 意思決定; 与信; "
            "押印; 署名"
        ),
        WON: "受注; 成約; 成立; 成功; 完了; 獲得済み",
        LOST: "失注; 見送り; 不成立; 失敗; 却下; 辞退; キャンセル; 解約; 対象外",
        PARKED: "保留; 休眠; 延期; 中断; 凍結; 長期",
        VAGUE: "進行中; 対応中; 処理中; 作業中; 継続; フォロー; その他; アクティブ",
        POST_PURCHASE: (
            "更新; 契約更新; 導入; 導入支援; 導入後; オンボーディング; アップセル; クロスセル; 納品; 納入; "
            "紹介依頼; 既存顧客; 既存; 運用開始; 稼働; サポート; 研修"
        ),
        NEW_SALE: "新規; 営業; 新規開拓; 販売",
    },
}

SECOND_MEANINGS: Mapping[str, Mapping[str, float]] = {
    # An appointment that stands before qualification was booked to find out.
    "appointment*": {"meeting": 1.0, "prospecting": 0.66, "qualification": 0.5},
    "appointment scheduled": {"meeting": 1.0, "prospecting": 0.66, "qualification": 0.5},
    "termin vereinbart": {"meeting": 1.0, "prospecting": 0.66},
    "erstgesprach": {"meeting": 1.0, "qualification": 0.8},
    "erstes gesprach": {"meeting": 1.0, "qualification": 0.8},
    "アポ獲得": {"meeting": 1.0, "prospecting": 0.66},
    # Sent at the end it is there to be signed; followed by talks it was the offer.
    "contract sent": {"negotiation": 1.0, "proposal": 0.93},
    "vertrag versendet": {"negotiation": 1.0, "proposal": 0.93},
    "contrat envoye": {"negotiation": 1.0, "proposal": 0.93},
    "contrato enviado": {"negotiation": 1.0, "proposal": 0.93},
    "договор отправлен": {"negotiation": 1.0, "proposal": 0.93},
    # Showing what it is worth to the buyer: mostly a presentation, sometimes already an offer.
    "value proposition": {"meeting": 1.0, "proposal": 0.66},
    "nutzenversprechen": {"meeting": 1.0, "proposal": 0.66},
    "wertangebot": {"meeting": 1.0, "proposal": 0.66},
    "leistungsversprechen": {"meeting": 1.0, "proposal": 0.66},
    "proposition de valeur": {"meeting": 1.0, "proposal": 0.66},
    "propuesta de valor": {"meeting": 1.0, "proposal": 0.66},
    "proposta de valor": {"meeting": 1.0, "proposal": 0.66},
    "ценностн* предложени*": {"meeting": 1.0, "proposal": 0.66},
    "価値提案": {"meeting": 1.0, "proposal": 0.66},
    # A question of qualification by nature, answered in meetings.
    "identify decision makers": {"qualification": 1.0, "meeting": 0.7},
    "id decision makers": {"qualification": 1.0, "meeting": 0.7},
    "decision maker*": {"qualification": 1.0, "meeting": 0.7},
    "entscheider*": {"qualification": 1.0, "meeting": 0.7},
    "entscheidungstrager*": {"qualification": 1.0, "meeting": 0.7},
    "decideur*": {"qualification": 1.0, "meeting": 0.7},
    "decisionnaire*": {"qualification": 1.0, "meeting": 0.7},
    "decisor*": {"qualification": 1.0, "meeting": 0.7},
    "tomador* de decis*": {"qualification": 1.0, "meeting": 0.7},
    "responsable* de la toma": {"qualification": 1.0, "meeting": 0.7},
    "лпр": {"qualification": 1.0, "meeting": 0.7},
    "лиц* принимающ*": {"qualification": 1.0, "meeting": 0.7},
    "意思決定者": {"qualification": 1.0, "meeting": 0.7},
    "決裁者": {"qualification": 1.0, "meeting": 0.7},
    "perception analysis": {"qualification": 1.0, "meeting": 0.75},
    "analysis": {"qualification": 1.0, "meeting": 0.75},
    "analyse": {"qualification": 1.0, "meeting": 0.75},
    "analisis": {"qualification": 1.0, "meeting": 0.75},
    "анализ": {"qualification": 1.0, "meeting": 0.75},
    # "Talks" are a meeting early in a pipeline and the haggling at its end.
    "переговор*": {"negotiation": 1.0, "meeting": 0.8},
    "商談": {"meeting": 1.0, "negotiation": 0.6},
    "evaluation": {"meeting": 1.0, "qualification": 0.8},
    "評価": {"qualification": 1.0, "meeting": 0.8},
    # A recommendation is where some deals come from and where others lead to.
    "referral*": {POST_PURCHASE: 1.0, "prospecting": 0.9},
    "empfehlung*": {POST_PURCHASE: 1.0, "prospecting": 0.9},
    "recommandation": {POST_PURCHASE: 1.0, "prospecting": 0.9},
    "referid*": {POST_PURCHASE: 1.0, "prospecting": 0.9},
    "indicac*": {POST_PURCHASE: 1.0, "prospecting": 0.9},
    "рекомендац*": {POST_PURCHASE: 1.0, "prospecting": 0.9},
}
"""Terms with more than one meaning and how likely each is; order and probability decide."""
