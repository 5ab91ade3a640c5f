// Whom the hub believes, and what it shows, when it pushes to one stream. A new table: not breaking.
export async function up(knex) {
  await knex.raw(`
    create table stream_tls (
      stream_id uuid primary key references streams (stream_id) on delete cascade,
      -- It is for this origin alone: a stream may be given another endpoint by its receiver.
      origin text not null,
      -- PEM. Null: the system's authorities.
      ca text,
      certificate text,
      certificate_ends_at timestamptz,
      -- The private key of the certificate, sealed.
      key_wrapped bytea,
      updated_at timestamptz not null default clock_timestamp(),
      constraint stream_tls_pair_whole check (
        (certificate is null) = (key_wrapped is null) and (certificate is null) = (certificate_ends_at is null)
      ),
      constraint stream_tls_not_empty check (ca is not null or certificate is not null)
    );
    create index stream_tls_certificates on stream_tls (certificate_ends_at) where certificate_ends_at is not null;
  `)
}

export async function down(knex) {
  await knex.raw('drop table stream_tls')
}
