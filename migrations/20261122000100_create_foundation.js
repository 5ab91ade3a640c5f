// Processes, leases, keys, operators and the audit log.
export async function up(knex) {
  await knex.raw(`
    create table hub_processes (
      process_id uuid primary key,
      roles text[] not null,
      started_at timestamptz not null default now(),
      seen_at timestamptz not null default now()
    );

    -- One row per unit of exclusive work. The epoch rises with each change of owner and fences the old one.
    create table leases (
      kind text not null,
      unit integer not null,
      owner uuid,
      epoch bigint not null default 0,
      expires_at timestamptz not null default '-infinity',
      primary key (kind, unit)
    );
    insert into leases (kind, unit) select 'delivery', generate_series(0, 255);
    insert into leases (kind, unit) select 'fanout', generate_series(0, 63);
    insert into leases (kind, unit) values ('audit-sealer', 0), ('latency-folder', 0), ('upkeep', 0), ('log-relay', 0);

    create table key_ring (
      key_id text primary key,
      -- Only when no master key is configured: then access to the database is access to the keys.
      secret bytea,
      check_value bytea not null,
      created_at timestamptz not null default now()
    );

    create table data_keys (
      purpose text not null,
      day date not null,
      wrapped bytea not null,
      created_at timestamptz not null default now(),
      primary key (purpose, day)
    );

    create table signing_keys (
      kid text primary key,
      use text not null constraint signing_keys_use_known check (use in ('set', 'log')),
      alg text not null constraint signing_keys_alg_known check (alg in ('RS256', 'ES256')),
      public_jwk jsonb not null,
      private_wrapped bytea not null,
      state text not null constraint signing_keys_state_known check (state in ('published', 'active', 'retiring', 'retired')),
      created_at timestamptz not null default now()
    );

    create table operators (
      id uuid primary key,
      name text not null unique,
      role text not null constraint operators_role_known check (role in ('viewer', 'operator', 'responder', 'approver', 'admin')),
      token_hash bytea not null unique,
      created_at timestamptz not null default now(),
      expires_at timestamptz,
      revoked_at timestamptz
    );

    create table audit_log (
      id uuid primary key,
      at timestamptz not null default clock_timestamp(),
      actor text not null,
      action text not null,
      target text,
      detail jsonb not null default '{}',
      -- Given by the sealer after commit: gapless, chained.
      seq bigint unique,
      prev_hash bytea,
      hash bytea
    );
    create index audit_log_unsealed on audit_log (at, id) where seq is null;
  `)
}

export async function down(knex) {
  await knex.raw('drop table audit_log, operators, signing_keys, data_keys, key_ring, leases, hub_processes')
}
