// The erasure of one person: what was asked, how far it is, and events that wait for their deliveries. Additive.
export async function up(knex) {
  await knex.raw(`
    create table erasures (
      id uuid primary key,
      -- HMAC of the canonical subject: what remains of it.
      subject_hash bytea not null,
      -- The identifiers, sealed, for as long as they are looked for.
      identifiers_wrapped bytea,
      reason text not null,
      force boolean not null default false,
      step text not null default 'log'
        constraint erasures_step_known check (step in ('log', 'events', 'subjects', 'parked', 'held', 'done')),
      -- Where the step goes on.
      cursor jsonb,
      -- The step cannot go on now.
      waits boolean not null default false,
      requested_by text not null,
      requested_at timestamptz not null default clock_timestamp(),
      finished_at timestamptz,
      events_seen bigint not null default 0,
      events_erased bigint not null default 0,
      deliveries_discarded bigint not null default 0,
      subjects_erased bigint not null default 0,
      records_erased bigint not null default 0
    );
    create unique index erasures_open on erasures (subject_hash) where step <> 'done';

    -- Events of the person that are still owed to a receiver.
    create table erasure_holds (
      erasure_id uuid not null references erasures on delete cascade,
      event_id uuid not null,
      day date not null,
      -- The person is its subject; else it only names them, and is nothing that force may end.
      about boolean not null,
      primary key (erasure_id, event_id)
    );
  `)
}

export async function down(knex) {
  await knex.raw('drop table erasure_holds, erasures')
}
