// What comes back again and again is told less often; and the list is read along an index. A column with a default, indexes: not breaking.
export async function up(knex) {
  await knex.raw(`
    -- How often it was over in the hour before it was opened.
    alter table alerts add column reopened smallint not null default 0;
    create index alerts_ended on alerts (kind, object, resolved_at);
    -- The order of the list is by ms, so the index on the column itself was of no use.
    drop index alerts_opened;
    create index alerts_listed on alerts (date_trunc('milliseconds', opened_at at time zone 'UTC'), id);
  `)
}

export async function down(knex) {
  await knex.raw(`
    drop index alerts_listed;
    create index alerts_opened on alerts (opened_at, id);
    drop index alerts_ended;
    alter table alerts drop column reopened;
  `)
}
