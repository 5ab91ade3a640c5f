// Hours by event type and source, without streams: a window of weeks over a hundred streams read millions of cells.
// A new table, and a column that an older release leaves alone: an hour that it folds has another folded_at than rolled_at, and
// is read from the histograms until it is folded again. Not breaking.
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
    insert into latency_rollups (hour, stage, type, source_id, bucket, count, max_ms)
      select hour, stage, type, source_id, bucket, sum(count), max(max_ms) from latency_histograms group by 1, 2, 3, 4, 5;

    alter table latency_folded_hours add column rolled_at timestamptz;
    update latency_folded_hours set rolled_at = folded_at;
  `)
}

export async function down(knex) {
  await knex.raw(`
    alter table latency_folded_hours drop column rolled_at;
    drop table latency_rollups;
  `)
}
