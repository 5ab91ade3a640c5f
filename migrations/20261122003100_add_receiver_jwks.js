// Public keys of receivers that authenticate with private_key_jwt. A new column that may be null: not breaking.
export async function up(knex) {
  await knex.raw('alter table receivers add column jwks jsonb')
}

export async function down(knex) {
  await knex.raw('alter table receivers drop column jwks')
}
