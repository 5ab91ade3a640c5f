// When the status of a stream was last set, apart from when anything else of it was: what was queued before a stream was
// let go is sent in order, and a receiver that adds a subject per second must not make all of it look so.
//
// `updated_at` is what moves with the status, and the new column with all the rest, not the other way round: an older
// release on the same database moves `updated_at` with everything, so what it sets is never too early. At worst what it
// changes counts as a status, as it did. A column without a default: not breaking.
export async function up(knex) {
  await knex.raw(`
    alter table streams add column configured_at timestamptz;
    comment on column streams.updated_at is 'when the status was last set, or its notice written again';
    comment on column streams.configured_at is 'when anything else was last changed; null: not since updated_at';
  `)
}

export async function down(knex) {
  await knex.raw(`
    comment on column streams.updated_at is null;
    update streams set updated_at = greatest(updated_at, configured_at);
    alter table streams drop column configured_at;
  `)
}
