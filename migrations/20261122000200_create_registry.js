// Who sends, who receives, and which streams they hold.
export async function up(knex) {
  await knex.raw(`
    create table transmitters (
      id uuid primary key,
      name text not null unique,
      issuer text not null,
      jwks_uri text,
      jwks jsonb,
      discover text,
      audience text[] not null,
      algorithms text[] not null,
      authorization_hash bytea,
      delivery jsonb not null default '{"method":"push"}',
      tolerances jsonb not null default '{}',
      budget_per_s integer not null default 200,
      enabled boolean not null default true,
      -- The receiver of ours that is this source, when hubs stand in a ring.
      receiver_id uuid,
      version bigint not null default 1,
      created_at timestamptz not null default now(),
      updated_at timestamptz not null default now()
    );

    create table receivers (
      id uuid primary key,
      name text not null unique,
      client_id text not null unique,
      client_secret_hash bytea,
      token_endpoint_auth_method text not null default 'client_secret_basic',
      audience text not null unique,
      default_subjects text not null default 'ALL' constraint receivers_default_subjects_known check (default_subjects in ('ALL', 'NONE')),
      reports text[] not null default '{}',
      profile text,
      compatibility jsonb not null default '{}',
      signing_alg text not null default 'RS256' constraint receivers_alg_known check (signing_alg in ('RS256', 'ES256')),
      grant_event_types text[],
      grant_sources uuid[],
      enabled boolean not null default true,
      version bigint not null default 1,
      created_at timestamptz not null default now(),
      updated_at timestamptz not null default now()
    );

    create table receiver_tokens (
      id uuid primary key,
      receiver_id uuid not null references receivers on delete cascade,
      token_hash bytea not null unique,
      scopes text[] not null,
      created_at timestamptz not null default now(),
      expires_at timestamptz
    );
    create index receiver_tokens_receiver on receiver_tokens (receiver_id);

    -- What the authorization server keeps; id_hash is a hash, so a copy of the table holds no usable token.
    create table oauth_artifacts (
      model text not null,
      id_hash bytea not null,
      client_id text,
      payload jsonb not null,
      expires_at timestamptz,
      consumed_at timestamptz,
      primary key (model, id_hash)
    );
    create index oauth_artifacts_client on oauth_artifacts (client_id);
    create index oauth_artifacts_expiry on oauth_artifacts (expires_at);

    create table streams (
      stream_id uuid primary key,
      receiver_id uuid not null references receivers on delete cascade,
      shard smallint not null,
      status text not null default 'enabled' constraint streams_status_known check (status in ('enabled', 'paused', 'disabled')),
      status_reason text,
      -- Who set the status: the receiver's own pause never counts against the hub.
      status_by text not null default 'receiver' constraint streams_status_by_known check (status_by in ('receiver', 'hub', 'operator')),
      delivery_method text not null constraint streams_method_known check (delivery_method in ('push', 'poll')),
      endpoint_url text,
      authorization_wrapped bytea,
      events_requested text[],
      events_delivered text[] not null default '{}',
      description text,
      verified_at timestamptz,
      verification_requested_at timestamptz,
      active_at timestamptz not null default now(),
      version bigint not null default 1,
      created_at timestamptz not null default now(),
      updated_at timestamptz not null default now()
    );
    create index streams_receiver on streams (receiver_id);
    create index streams_shard on streams (shard);

    -- events_delivered, one row per type, so that fan-out finds streams by index.
    create table stream_event_types (
      event_type text not null,
      stream_id uuid not null references streams on delete cascade,
      primary key (event_type, stream_id)
    );
    create index stream_event_types_stream on stream_event_types (stream_id);

    -- One row per subject that a receiver added or removed; match_hash is an HMAC of the canonical subject.
    create table stream_subjects (
      stream_id uuid not null references streams on delete cascade,
      match_hash bytea not null,
      mode text not null constraint stream_subjects_mode_known check (mode in ('added', 'removed')),
      subject_wrapped bytea not null,
      -- A complex subject has an index row per member; this names the whole. Null for a simple subject.
      complex_hash bytea not null default '\\x',
      verified boolean not null default true,
      changed_at timestamptz not null default now(),
      primary key (match_hash, stream_id, complex_hash)
    );
    create index stream_subjects_stream on stream_subjects (stream_id);
  `)
}

export async function down(knex) {
  await knex.raw(
    'drop table stream_subjects, stream_event_types, streams, oauth_artifacts, receiver_tokens, receivers, transmitters',
  )
}
