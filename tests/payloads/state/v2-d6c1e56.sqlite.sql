-- A store as commit d6c1e56 of this repository made it (schema version 2), with one row in each table.
CREATE TABLE changes (
  number INTEGER NOT NULL,
  connection TEXT NOT NULL,
  kind TEXT NOT NULL,
  id TEXT NOT NULL,
  PRIMARY KEY (number)
);
CREATE INDEX changes_by_kind ON changes (connection, kind, number);
CREATE TABLE companies (
  connection TEXT NOT NULL,
  id TEXT NOT NULL,
  name TEXT NOT NULL,
  domain TEXT,
  tax_id TEXT,
  phones JSON NOT NULL,
  owner_id TEXT,
  city TEXT,
  country TEXT,
  postcode TEXT,
  "key" TEXT,
  url TEXT,
  version TEXT,
  merged_into TEXT,
  custom JSON NOT NULL,
  created_at TEXT,
  modified_at TEXT,
  archived BOOLEAN NOT NULL,
  seen_walk INTEGER DEFAULT '0' NOT NULL,
  observed_at TEXT NOT NULL,
  gone_at TEXT,
  PRIMARY KEY (connection, id)
);
CREATE TABLE conflicts (
  sync TEXT NOT NULL,
  entity TEXT NOT NULL,
  field TEXT NOT NULL,
  reason TEXT NOT NULL,
  candidates TEXT NOT NULL,
  since TEXT NOT NULL,
  winner TEXT,
  frozen BOOLEAN NOT NULL,
  PRIMARY KEY (sync, entity, field)
);
CREATE TABLE contacts (
  connection TEXT NOT NULL,
  id TEXT NOT NULL,
  name TEXT NOT NULL,
  first_name TEXT,
  last_name TEXT,
  emails JSON NOT NULL,
  phones JSON NOT NULL,
  companies JSON NOT NULL,
  owner_id TEXT,
  city TEXT,
  country TEXT,
  postcode TEXT,
  "key" TEXT,
  url TEXT,
  version TEXT,
  merged_into TEXT,
  custom JSON NOT NULL,
  created_at TEXT,
  modified_at TEXT,
  archived BOOLEAN NOT NULL,
  seen_walk INTEGER DEFAULT '0' NOT NULL,
  observed_at TEXT NOT NULL,
  gone_at TEXT,
  PRIMARY KEY (connection, id)
);
CREATE TABLE cursors (
  connection TEXT NOT NULL,
  kind TEXT NOT NULL,
  cursor TEXT,
  walk INTEGER NOT NULL,
  finished BOOLEAN NOT NULL,
  records INTEGER NOT NULL,
  moved_at TEXT NOT NULL,
  whole_at TEXT,
  PRIMARY KEY (connection, kind)
);
CREATE TABLE deals (
  connection TEXT NOT NULL,
  id TEXT NOT NULL,
  name TEXT NOT NULL,
  pipeline_id TEXT,
  stage_id TEXT,
  outcome TEXT NOT NULL,
  lost_kind TEXT,
  lost_reason TEXT,
  amount TEXT,
  currency TEXT,
  value_period TEXT NOT NULL,
  probability TEXT,
  forecast_category TEXT,
  owner_id TEXT,
  companies JSON NOT NULL,
  contacts JSON NOT NULL,
  expected_close DATE,
  closed_at TEXT,
  created_at TEXT,
  modified_at TEXT,
  stage_entered_at TEXT,
  last_activity_at TEXT,
  next_activity_at TEXT,
  source TEXT,
  tags JSON NOT NULL,
  custom JSON NOT NULL,
  url TEXT,
  "key" TEXT,
  version TEXT,
  archived BOOLEAN NOT NULL,
  merged_into TEXT,
  seen_walk INTEGER DEFAULT '0' NOT NULL,
  observed_at TEXT NOT NULL,
  gone_at TEXT,
  PRIMARY KEY (connection, id)
);
CREATE TABLE decisions (
  kind TEXT NOT NULL,
  one_connection TEXT NOT NULL,
  one TEXT NOT NULL,
  other_connection TEXT NOT NULL,
  other TEXT NOT NULL,
  verdict TEXT NOT NULL,
  at TEXT NOT NULL,
  PRIMARY KEY (kind, one_connection, one, other_connection, other)
);
CREATE TABLE entities (
  sync TEXT NOT NULL,
  id TEXT NOT NULL,
  kind TEXT NOT NULL,
  status TEXT NOT NULL,
  hub TEXT NOT NULL,
  PRIMARY KEY (sync, id)
);
CREATE INDEX merged_entities ON entities (sync) WHERE status = 'merged';
CREATE TABLE groups (
  sync TEXT NOT NULL,
  digest TEXT NOT NULL,
  accounts JSON NOT NULL,
  generation INTEGER NOT NULL,
  created_at TEXT NOT NULL,
  PRIMARY KEY (sync)
);
CREATE TABLE history (
  number INTEGER NOT NULL,
  connection TEXT NOT NULL,
  kind TEXT NOT NULL,
  id TEXT NOT NULL,
  field TEXT NOT NULL,
  old TEXT,
  new TEXT,
  observed_at TEXT NOT NULL,
  PRIMARY KEY (number)
);
CREATE INDEX history_by_record ON history (connection, kind, id);
CREATE TABLE journal (
  id TEXT NOT NULL,
  run INTEGER NOT NULL,
  epoch INTEGER NOT NULL,
  sync TEXT NOT NULL,
  connection TEXT NOT NULL,
  kind TEXT NOT NULL,
  act TEXT NOT NULL,
  entity TEXT NOT NULL,
  native_id TEXT,
  marker TEXT,
  parent TEXT,
  sent TEXT NOT NULL,
  "before" TEXT NOT NULL,
  rules TEXT NOT NULL,
  state TEXT NOT NULL,
  misses INTEGER DEFAULT '0' NOT NULL,
  sent_at TEXT NOT NULL,
  ended_at TEXT,
  reason TEXT,
  undone_by INTEGER,
  PRIMARY KEY (id)
);
CREATE INDEX journal_by_entity ON journal (sync, entity);
CREATE INDEX journal_by_run ON journal (run);
CREATE INDEX journal_open ON journal (sync, state);
CREATE UNIQUE INDEX one_open_write_per_record ON journal (sync, connection, entity) WHERE state IN ('sent', 'unknown');
CREATE TABLE leases (
  name TEXT NOT NULL,
  owner TEXT NOT NULL,
  epoch INTEGER NOT NULL,
  since TEXT NOT NULL,
  expires_at TEXT NOT NULL,
  PRIMARY KEY (name)
);
CREATE TABLE links (
  sync TEXT NOT NULL,
  connection TEXT NOT NULL,
  kind TEXT NOT NULL,
  native_id TEXT NOT NULL,
  entity TEXT NOT NULL,
  status TEXT NOT NULL,
  base TEXT NOT NULL,
  version TEXT,
  written_at TEXT,
  evidence TEXT NOT NULL,
  rebuilt BOOLEAN NOT NULL,
  PRIMARY KEY (sync, connection, kind, native_id)
);
CREATE INDEX clone_links ON links (sync) WHERE status = 'clone';
CREATE INDEX links_by_entity ON links (sync, entity);
CREATE UNIQUE INDEX one_live_link_per_member ON links (sync, entity, connection) WHERE status = 'live';
CREATE TABLE meta (
  "key" TEXT NOT NULL,
  value TEXT NOT NULL,
  PRIMARY KEY ("key")
);
CREATE TABLE notes (
  connection TEXT NOT NULL,
  id TEXT NOT NULL,
  deal_id TEXT,
  company_id TEXT,
  text TEXT NOT NULL,
  author_id TEXT,
  at TEXT,
  modified_at TEXT,
  seen_walk INTEGER DEFAULT '0' NOT NULL,
  observed_at TEXT NOT NULL,
  gone_at TEXT,
  PRIMARY KEY (connection, id)
);
CREATE TABLE owners (
  connection TEXT NOT NULL,
  id TEXT NOT NULL,
  name TEXT NOT NULL,
  email TEXT,
  active BOOLEAN NOT NULL,
  seen_walk INTEGER DEFAULT '0' NOT NULL,
  observed_at TEXT NOT NULL,
  gone_at TEXT,
  PRIMARY KEY (connection, id)
);
CREATE TABLE pending (
  sync TEXT NOT NULL,
  entity TEXT NOT NULL,
  PRIMARY KEY (sync, entity)
);
CREATE TABLE pipelines (
  connection TEXT NOT NULL,
  id TEXT NOT NULL,
  name TEXT NOT NULL,
  "order" INTEGER NOT NULL,
  archived BOOLEAN NOT NULL,
  seen_walk INTEGER DEFAULT '0' NOT NULL,
  observed_at TEXT NOT NULL,
  gone_at TEXT,
  PRIMARY KEY (connection, id)
);
CREATE TABLE positions (
  sync TEXT NOT NULL,
  connection TEXT NOT NULL,
  kind TEXT NOT NULL,
  number INTEGER NOT NULL,
  PRIMARY KEY (sync, connection, kind)
);
CREATE TABLE quarantine (
  connection TEXT NOT NULL,
  kind TEXT NOT NULL,
  id TEXT NOT NULL,
  field TEXT NOT NULL,
  reason TEXT NOT NULL,
  observed_at TEXT NOT NULL,
  PRIMARY KEY (connection, kind, id)
);
CREATE TABLE refusals (
  sync TEXT NOT NULL,
  connection TEXT NOT NULL,
  entity TEXT NOT NULL,
  act TEXT NOT NULL,
  digest TEXT NOT NULL,
  tries INTEGER NOT NULL,
  field TEXT,
  reason TEXT NOT NULL,
  since TEXT NOT NULL,
  last_at TEXT NOT NULL,
  PRIMARY KEY (sync, connection, entity, act)
);
CREATE TABLE reviews (
  sync TEXT NOT NULL,
  connection TEXT NOT NULL,
  kind TEXT NOT NULL,
  id TEXT NOT NULL,
  reason TEXT NOT NULL,
  PRIMARY KEY (sync, connection, kind, id)
);
CREATE TABLE runs (
  number INTEGER NOT NULL,
  command TEXT NOT NULL,
  connection TEXT NOT NULL,
  started_at TEXT NOT NULL,
  ended_at TEXT,
  outcome TEXT,
  records INTEGER DEFAULT '0' NOT NULL,
  requests INTEGER DEFAULT '0' NOT NULL,
  waited_seconds FLOAT DEFAULT '0' NOT NULL,
  error TEXT,
  PRIMARY KEY (number)
);
CREATE TABLE stage_changes (
  connection TEXT NOT NULL,
  id TEXT NOT NULL,
  deal_id TEXT NOT NULL,
  from_stage_id TEXT,
  to_stage_id TEXT NOT NULL,
  at TEXT NOT NULL,
  "by" TEXT,
  seen_walk INTEGER DEFAULT '0' NOT NULL,
  observed_at TEXT NOT NULL,
  gone_at TEXT,
  PRIMARY KEY (connection, id)
);
CREATE INDEX stage_changes_by_deal ON stage_changes (connection, deal_id);
CREATE TABLE stages (
  connection TEXT NOT NULL,
  pipeline_id TEXT NOT NULL,
  id TEXT NOT NULL,
  name TEXT NOT NULL,
  "order" INTEGER NOT NULL,
  outcome TEXT NOT NULL,
  probability TEXT,
  archived BOOLEAN NOT NULL,
  PRIMARY KEY (connection, pipeline_id, id)
);
CREATE TABLE tombstones (
  connection TEXT NOT NULL,
  kind TEXT NOT NULL,
  id TEXT NOT NULL,
  merged_into TEXT,
  at TEXT,
  observed_at TEXT NOT NULL,
  evidence TEXT NOT NULL,
  PRIMARY KEY (connection, kind, id)
);
CREATE TABLE "values" (
  number INTEGER NOT NULL,
  sync TEXT NOT NULL,
  entity TEXT NOT NULL,
  field TEXT NOT NULL,
  value TEXT NOT NULL,
  origin TEXT NOT NULL,
  rule TEXT NOT NULL,
  losers TEXT NOT NULL,
  run INTEGER NOT NULL,
  at TEXT NOT NULL,
  PRIMARY KEY (number)
);
CREATE INDEX values_by_field ON "values" (sync, entity, field);
CREATE TABLE workspaces (
  connection TEXT NOT NULL,
  crm TEXT NOT NULL,
  workspace_id TEXT NOT NULL,
  name TEXT NOT NULL,
  time_zone TEXT,
  base_currency TEXT,
  checked_at TEXT NOT NULL,
  PRIMARY KEY (connection)
);
INSERT INTO changes (connection, kind, id)
VALUES ('zoho-eu', 'deal', '4711');
INSERT INTO companies (connection, id, name, domain, tax_id, phones, owner_id, city, country, postcode, "key", url, version, merged_into, custom, created_at, modified_at, archived, seen_walk, observed_at, gone_at)
VALUES ('zoho-eu', '4711', 'Größe ☂ ''quoted''', 'x', 'x', '[]', 'x', 'x', 'x', 'x', 'x', 'x', 'x', NULL, '{}', '2026-11-20T08:00:00+00:00', '2026-11-20T08:00:00+00:00', FALSE, 1, '2026-11-20T08:00:00+00:00', NULL);
INSERT INTO conflicts (sync, entity, field, reason, candidates, since, winner, frozen)
VALUES ('main', 'ab12cd34:deal:4711', 'x', 'x', '[]', '2026-11-20T08:00:00+00:00', 'x', FALSE);
INSERT INTO contacts (connection, id, name, first_name, last_name, emails, phones, companies, owner_id, city, country, postcode, "key", url, version, merged_into, custom, created_at, modified_at, archived, seen_walk, observed_at, gone_at)
VALUES ('zoho-eu', '4711', 'Größe ☂ ''quoted''', 'x', 'x', '[]', '[]', '[]', 'x', 'x', 'x', 'x', 'x', 'x', 'x', NULL, '{}', '2026-11-20T08:00:00+00:00', '2026-11-20T08:00:00+00:00', FALSE, 1, '2026-11-20T08:00:00+00:00', NULL);
INSERT INTO cursors (connection, kind, cursor, walk, finished, records, moved_at, whole_at)
VALUES ('zoho-eu', 'deal', 'x', 1, FALSE, 1, '2026-11-20T08:00:00+00:00', '2026-11-20T08:00:00+00:00');
INSERT INTO deals (connection, id, name, pipeline_id, stage_id, outcome, lost_kind, lost_reason, amount, currency, value_period, probability, forecast_category, owner_id, companies, contacts, expected_close, closed_at, created_at, modified_at, stage_entered_at, last_activity_at, next_activity_at, source, tags, custom, url, "key", version, archived, merged_into, seen_walk, observed_at, gone_at)
VALUES ('zoho-eu', '4711', 'Größe ☂ ''quoted''', 'x', 'x', 'open', 'x', 'x', '1234.50', 'x', 'one_time', '1234.50', 'x', 'x', '[]', '[]', '2026-12-31', '2026-11-20T08:00:00+00:00', '2026-11-20T08:00:00+00:00', '2026-11-20T08:00:00+00:00', '2026-11-20T08:00:00+00:00', '2026-11-20T08:00:00+00:00', '2026-11-20T08:00:00+00:00', 'x', '[]', '{}', 'x', 'x', 'x', FALSE, NULL, 1, '2026-11-20T08:00:00+00:00', NULL);
INSERT INTO decisions (kind, one_connection, one, other_connection, other, verdict, at)
VALUES ('deal', 'x', 'x', 'x', 'x', 'x', '2026-11-20T08:00:00+00:00');
INSERT INTO entities (sync, id, kind, status, hub)
VALUES ('main', '4711', 'deal', 'live', '{}');
INSERT INTO groups (sync, digest, accounts, generation, created_at)
VALUES ('main', 'x', '{}', 1, '2026-11-20T08:00:00+00:00');
INSERT INTO history (connection, kind, id, field, old, new, observed_at)
VALUES ('zoho-eu', 'deal', '4711', 'x', 'Größe ☂ ''quoted''', 'Größe ☂ ''quoted''', '2026-11-20T08:00:00+00:00');
INSERT INTO journal (id, run, epoch, sync, connection, kind, act, entity, native_id, marker, parent, sent, "before", rules, state, misses, sent_at, ended_at, reason, undone_by)
VALUES ('4711', 1, 1, 'main', 'zoho-eu', 'deal', 'x', 'ab12cd34:deal:4711', '4711', 'x', 'x', '{}', '{}', '{}', 'acked', 1, '2026-11-20T08:00:00+00:00', '2026-11-20T08:00:00+00:00', 'x', 1);
INSERT INTO leases (name, owner, epoch, since, expires_at)
VALUES ('Größe ☂ ''quoted''', 'x', 1, '2026-11-20T08:00:00+00:00', '2026-11-20T08:00:00+00:00');
INSERT INTO links (sync, connection, kind, native_id, entity, status, base, version, written_at, evidence, rebuilt)
VALUES ('main', 'zoho-eu', 'deal', '4711', 'ab12cd34:deal:4711', 'live', '{}', 'x', '2026-11-20T08:00:00+00:00', 'x', FALSE);
INSERT INTO meta ("key", value)
VALUES ('version', '2');
INSERT INTO notes (connection, id, deal_id, company_id, text, author_id, at, modified_at, seen_walk, observed_at, gone_at)
VALUES ('zoho-eu', '4711', 'x', 'x', 'Größe ☂ ''quoted''', 'x', '2026-11-20T08:00:00+00:00', '2026-11-20T08:00:00+00:00', 1, '2026-11-20T08:00:00+00:00', NULL);
INSERT INTO owners (connection, id, name, email, active, seen_walk, observed_at, gone_at)
VALUES ('zoho-eu', '4711', 'Größe ☂ ''quoted''', 'x', FALSE, 1, '2026-11-20T08:00:00+00:00', NULL);
INSERT INTO pending (sync, entity)
VALUES ('main', 'ab12cd34:deal:4711');
INSERT INTO pipelines (connection, id, name, "order", archived, seen_walk, observed_at, gone_at)
VALUES ('zoho-eu', '4711', 'Größe ☂ ''quoted''', 1, FALSE, 1, '2026-11-20T08:00:00+00:00', NULL);
INSERT INTO positions (sync, connection, kind, number)
VALUES ('main', 'zoho-eu', 'deal', 1);
INSERT INTO quarantine (connection, kind, id, field, reason, observed_at)
VALUES ('zoho-eu', 'deal', '4711', 'x', 'x', '2026-11-20T08:00:00+00:00');
INSERT INTO refusals (sync, connection, entity, act, digest, tries, field, reason, since, last_at)
VALUES ('main', 'zoho-eu', 'ab12cd34:deal:4711', 'x', 'x', 1, 'x', 'x', '2026-11-20T08:00:00+00:00', '2026-11-20T08:00:00+00:00');
INSERT INTO reviews (sync, connection, kind, id, reason)
VALUES ('main', 'zoho-eu', 'deal', '4711', 'x');
INSERT INTO runs (command, connection, started_at, ended_at, outcome, records, requests, waited_seconds, error)
VALUES ('pull', 'zoho-eu', '2026-11-20T08:00:00+00:00', '2026-11-20T08:00:00+00:00', 'done', 1, 1, 0.5, 'x');
INSERT INTO stage_changes (connection, id, deal_id, from_stage_id, to_stage_id, at, "by", seen_walk, observed_at, gone_at)
VALUES ('zoho-eu', '4711', 'x', 'x', 'x', '2026-11-20T08:00:00+00:00', 'x', 1, '2026-11-20T08:00:00+00:00', NULL);
INSERT INTO stages (connection, pipeline_id, id, name, "order", outcome, probability, archived)
VALUES ('zoho-eu', 'x', '4711', 'Größe ☂ ''quoted''', 1, 'open', '1234.50', FALSE);
INSERT INTO tombstones (connection, kind, id, merged_into, at, observed_at, evidence)
VALUES ('zoho-eu', 'deal', '4711', NULL, '2026-11-20T08:00:00+00:00', '2026-11-20T08:00:00+00:00', 'x');
INSERT INTO "values" (sync, entity, field, value, origin, rule, losers, run, at)
VALUES ('main', 'ab12cd34:deal:4711', 'x', 'x', 'x', 'x', '[]', 1, '2026-11-20T08:00:00+00:00');
INSERT INTO workspaces (connection, crm, workspace_id, name, time_zone, base_currency, checked_at)
VALUES ('zoho-eu', 'x', 'x', 'Größe ☂ ''quoted''', 'x', 'x', '2026-11-20T08:00:00+00:00');
