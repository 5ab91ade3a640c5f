// Sources that used one jti for two contents, for an alert. A new table: not breaking.
export async function up(knex) {
  await knex.raw(`
    -- By lane too, so that no lane waits for another's transaction.
    create table conflicting_repeats (
      source_id uuid not null,
      lane smallint not null,
      -- Since it last was quiet for an hour.
      count bigint not null,
      last_at timestamptz not null default clock_timestamp(),
      primary key (source_id, lane)
    );
  `)
}

export async function down(knex) {
  await knex.raw('drop table conflicting_repeats')
}
