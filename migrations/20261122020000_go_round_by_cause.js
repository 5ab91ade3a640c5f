// What a source names urgent, and an index by which a claim finds the causes of a backlog without reading it.
// A column with a constant default, and a partial index: not breaking. Rows of an older release have cause 0.
export async function up(knex) {
  await knex.raw(`
    alter table transmitters add column urgent_types text[] not null default '{}';

    alter table delivery_queue add column cause integer not null default 0;
    -- Only what may pass older rows of its subject is looked for by cause.
    create index delivery_queue_cause on delivery_queue (stream_id, lane, cause, event_id)
      where effect = 'tightens' or expects = 0;
  `)
}

export async function down(knex) {
  await knex.raw(`
    drop index delivery_queue_cause;
    alter table delivery_queue drop column cause;
    alter table transmitters drop column urgent_types;
  `)
}
