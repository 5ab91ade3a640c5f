// `client_secret` was a name of our own for what the registry calls client_secret_basic.
export async function up(knex) {
  await knex.raw(
    "update receivers set token_endpoint_auth_method = 'client_secret_basic' where token_endpoint_auth_method = 'client_secret'",
  )
}

export async function down() {
  // The old code reads the registered names too.
}
