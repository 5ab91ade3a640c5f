// The streams that the hub itself holds at upstream transmitters (SSF 1.0 §8). New tables: not breaking.
export async function up(knex) {
  await knex.raw(`
    create table upstream_streams (
      -- No reference: the row outlives its transmitter until the stream is deleted there.
      transmitter_id uuid primary key,
      issuer text not null,
      metadata_url text not null,
      method text not null constraint upstream_streams_method_known check (method in ('push', 'poll')),
      events_requested text[] not null,
      -- Empty: whatever the transmitter assigns.
      audience_expected text[] not null default '{}',
      -- Without the secret, which is sealed beside it.
      credentials jsonb not null,
      secret_wrapped bytea not null,
      -- The Authorization header with which the transmitter pushes.
      authorization_wrapped bytea,
      phase text not null default 'setup'
        constraint upstream_streams_phase_known check (phase in ('setup', 'active', 'stopped', 'leaving')),
      stream_id text,
      audience text[],
      events_delivered text[],
      poll_url text,
      min_verification_interval_s integer,
      inactivity_timeout_s integer,
      status text,
      status_reason text,
      status_at timestamptz,
      verification_requested_at timestamptz,
      verified_at timestamptz,
      last_poll_at timestamptz,
      last_error text,
      -- What failed: its next success takes the error away, another's does not.
      last_error_of text,
      last_error_at timestamptz,
      leaving_since timestamptz,
      -- Rises with each wish of a person; what was begun for an older wish is not written.
      version bigint not null default 1,
      created_at timestamptz not null default now(),
      updated_at timestamptz not null default now()
    );
    create unique index upstream_streams_once on upstream_streams (issuer, stream_id) where stream_id is not null;

    -- States that the hub chose; the hash is enough to know one again.
    create table upstream_verifications (
      transmitter_id uuid not null references upstream_streams on delete cascade,
      state_hash bytea not null,
      requested_at timestamptz not null default now(),
      primary key (transmitter_id, state_hash)
    );
  `)
}

export async function down(knex) {
  await knex.raw('drop table upstream_verifications, upstream_streams')
}
