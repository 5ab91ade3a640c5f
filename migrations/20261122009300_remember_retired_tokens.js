// Tokens that were given up: a setting that still holds one must not bring it back at the next start.
export async function up(knex) {
  await knex.raw(`
    create table retired_tokens (
      token_hash bytea primary key,
      retired_at timestamptz not null default now()
    )
  `)
}

export async function down(knex) {
  await knex.raw('drop table retired_tokens')
}
