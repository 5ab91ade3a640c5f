// The audit log is listed newest first. Additive.
export async function up(knex) {
  await knex.raw('create index audit_log_listed on audit_log (at desc, id desc)')
}

export async function down(knex) {
  await knex.raw('drop index audit_log_listed')
}
