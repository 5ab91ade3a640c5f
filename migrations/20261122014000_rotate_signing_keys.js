// A key's state follows from its times on the database's clock, so all processes change over at the same moment without
// telling each other. (`state` was never anything but `active` in a database that is carried on.)
export async function up(knex) {
  await knex.raw(`
    alter table signing_keys
      add column active_from timestamptz,
      add column retired_at timestamptz,
      add column origin text not null default 'generated'
        constraint signing_keys_origin_known check (origin in ('generated', 'file')),
      drop column state;
    update signing_keys set active_from = created_at;
    alter table signing_keys alter column active_from set not null;
  `)
}

export async function down(knex) {
  await knex.raw(`
    alter table signing_keys drop column active_from, drop column retired_at, drop column origin,
      add column state text not null default 'active'
        constraint signing_keys_state_known check (state in ('published', 'active', 'retiring', 'retired'))
  `)
}
