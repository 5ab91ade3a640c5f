// What a person should look at, told once with its recovery. New tables and an index: not breaking.
export async function up(knex) {
  await knex.raw(`
    create table alerts (
      id uuid primary key,
      kind text not null,
      -- What it is about: stream:<id>, lane:<name>, log:kafka, clock:<host> …
      object text not null,
      severity text not null constraint alerts_severity_known check (severity in ('critical', 'warning')),
      summary text not null,
      detail jsonb not null default '{}',
      opened_at timestamptz not null default clock_timestamp(),
      last_seen_at timestamptz not null default clock_timestamp(),
      resolved_at timestamptz
    );
    -- Whoever sees a condition first opens it, and nobody opens it twice.
    create unique index alerts_open on alerts (kind, object) where resolved_at is null;
    create index alerts_opened on alerts (opened_at, id);

    -- Notices not delivered yet, a row per way out; deleted when done.
    create table alert_notices (
      seq bigserial primary key,
      -- The same for all ways out and all attempts.
      notice_id text not null,
      channel text not null constraint alert_notices_channel_known check (channel in ('webhook', 'log')),
      alert_id uuid not null,
      -- The very bytes, so that a repeat says the same.
      body text not null,
      created_at timestamptz not null default clock_timestamp(),
      attempts integer not null default 0,
      next_attempt_at timestamptz not null default clock_timestamp(),
      last_failure text
    );
    create index alert_notices_order on alert_notices (alert_id, channel, seq);
    create index alert_notices_due on alert_notices (channel, next_attempt_at);

    -- What only one process can see of itself; counts while it is young.
    create table alert_reports (
      process_id uuid not null,
      kind text not null,
      object text not null,
      summary text not null,
      detail jsonb not null default '{}',
      reported_at timestamptz not null default clock_timestamp(),
      primary key (process_id, kind, object)
    );

    -- Leads from stream to stream past what each has parked.
    create index parked_open_by_stream on parked (kind, stream_id) where resolved_at is null;
  `)
}

export async function down(knex) {
  await knex.raw('drop index parked_open_by_stream; drop table alert_reports, alert_notices, alerts')
}
