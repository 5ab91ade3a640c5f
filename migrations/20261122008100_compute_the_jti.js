// A jti is computed from event and receiver and read back from itself (docs/adr/0013): no column, no index of random
// text on the tables that every delivery writes. By txn a delivery is found through its event.
export async function up(knex) {
  await knex.raw(`
    drop index parked_jti;
    create index parked_event on parked (event_id) where kind = 'delivery';
    alter table delivery_queue drop column jti;
    drop index deliveries_txn;
    alter table deliveries drop column jti;
    alter table acknowledgements drop column jti;
  `)
}

/** The names of deliveries that were made meanwhile are not known to the database. */
export async function down(knex) {
  await knex.raw(`
    alter table acknowledgements add column jti text not null default '';
    alter table deliveries add column jti text not null default '';
    create index deliveries_jti on deliveries (jti);
    create index deliveries_txn on deliveries (txn);
    alter table delivery_queue add column jti text not null default '';
    create index delivery_queue_jti on delivery_queue (jti);
    drop index parked_event;
    create index parked_jti on parked ((delivery ->> 'jti')) where kind = 'delivery';
  `)
}
