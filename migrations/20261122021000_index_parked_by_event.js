// Of one stream what is parked and open, by event: a look at one minute reads no more than that. An index: not breaking.
export async function up(knex) {
  await knex.raw(
    `create index parked_open_by_event on parked (stream_id, event_id) where resolved_at is null and kind = 'delivery'`,
  )
}

export async function down(knex) {
  await knex.raw('drop index parked_open_by_event')
}
