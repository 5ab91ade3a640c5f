// What a stream's endpoint does but fail since when, so that it outlives the process that sees it, and why the hub itself has
// paused a stream. A new table and a new column: older releases write neither and read neither.
export async function up(knex) {
  await knex.raw(`
    create table stream_failures (
      stream_id uuid primary key references streams on delete cascade,
      -- Of src/delivery/failure-class.ts. No check: a release may add one while an older one reads.
      class text not null,
      reason text not null,
      failing_since timestamptz not null,
      class_since timestamptz not null,
      failures integer not null,
      last_failed_at timestamptz not null,
      next_probe_at timestamptz not null,
      -- Of the stream: what was seen before it was changed does not count towards pausing it.
      version bigint not null
    );

    -- What the hub paused for failing it enables again by itself, and nothing else.
    alter table streams add column status_cause text
      constraint streams_status_cause_known check (status_cause in ('failing', 'inactive'));
  `)
}

export async function down(knex) {
  await knex.raw(`
    alter table streams drop column status_cause;
    drop table stream_failures;
  `)
}
