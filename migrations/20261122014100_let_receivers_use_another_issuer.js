// Null: the receiver gets its tokens here, from the authorization server or an operator.
export async function up(knex) {
  await knex.raw('alter table receivers add column token_issuer text')
}

export async function down(knex) {
  await knex.raw('alter table receivers drop column token_issuer')
}
