// Hours by event type and source, without streams: a window of weeks over a hundred streams read millions of cells.
// A new table, and a column that an older release leaves alone. An hour whose rolled_at is not its folded_at is read from the
// histograms until the folder has summed it: hours of before, which nothing here waits for, and those that an older release
// folds beside this one. Not breaking.
export async function up(knex) {
  await knex.raw(`
    create table latency_rollups (
      hour timestamptz not null,
      stage text not null,
      type text not null,
      source_id uuid not null,
      -- As in latency_histograms.
      bucket smallint not null,
      count bigint not null,
      max_ms double precision,
      primary key (hour, stage, type, source_id, bucket)
    );
    alter table latency_folded_hours add column rolled_at timestamptz;
  `)
}

export async function down(knex) {
  await knex.raw(`
    alter table latency_folded_hours drop column rolled_at;
    drop table latency_rollups;
  `)
}
