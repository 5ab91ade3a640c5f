// Event types that operators registered beside the built-in ones. Additive.
export async function up(knex) {
  await knex.raw(`
    create table event_types (
      id uuid primary key,
      type text not null unique,
      -- 'tightens', 'loosens', 'neutral' as a JSON string, or {member, values, otherwise}.
      effect jsonb not null,
      -- JSON Schema 2020-12 of the payload; null: anything goes.
      schema jsonb,
      description text,
      created_at timestamptz not null default clock_timestamp(),
      updated_at timestamptz not null default clock_timestamp()
    )
  `)
}

export async function down(knex) {
  await knex.raw('drop table event_types')
}
