// What an event says, whoever says it: found again when another source says it too (docs/adr/0017). Additive: rows of
// before, and those that older programs write, have none and are not compared.
export async function up(knex) {
  await knex.raw(`
    -- Under the hub's key, like order_hash. An event that says what was said before has none, unless it went to a stream.
    alter table events add column fact_hash bytea;
    create index events_fact on events (fact_hash, event_id) where fact_hash is not null;
  `)
}

export async function down(knex) {
  await knex.raw(`
    drop index events_fact;
    alter table events drop column fact_hash;
  `)
}
