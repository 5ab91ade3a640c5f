// The notice of a stopped stream stands among all that the stream is owed, which may be millions of rows, and is asked for every
// 30 s as long as the endpoint fails. Hardly any row is in this index, so it costs writers next to nothing.
export async function up(knex) {
  await knex.raw(`
    create index delivery_queue_notices on delivery_queue (stream_id, lane, event_id)
      where type = 'https://schemas.openid.net/secevent/ssf/event-type/stream-updated'
  `)
}

export async function down(knex) {
  await knex.raw('drop index delivery_queue_notices')
}
