// As a signing key, a ring key is known to all processes before one of them seals with it.
export async function up(knex) {
  await knex.raw('alter table key_ring add column active_from timestamptz')
  await knex.raw('update key_ring set active_from = created_at')
  await knex.raw('alter table key_ring alter column active_from set not null')
}

export async function down(knex) {
  await knex.raw('alter table key_ring drop column active_from')
}
