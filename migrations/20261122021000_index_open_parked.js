// Of one stream what is parked and open, by event: a look at one minute reads no more than that. One index in the place of
// another that it begins with, so that the planner cannot choose the shorter one. Not breaking.
export async function up(knex) {
  await knex.raw(`
    create index parked_open_items on parked (kind, stream_id, event_id) where resolved_at is null;
    drop index parked_open_by_stream;
  `)
}

export async function down(knex) {
  await knex.raw(`
    create index parked_open_by_stream on parked (kind, stream_id) where resolved_at is null;
    drop index parked_open_items;
  `)
}
