// The list is by ms, newest first, so the index on the column itself was of no use: each page sorted all that is parked. An
// index: not breaking.
export async function up(knex) {
  await knex.raw(`
    create index parked_listed on parked (date_trunc('milliseconds', parked_at at time zone 'UTC'), id)
  `)
}

export async function down(knex) {
  await knex.raw('drop index parked_listed')
}
