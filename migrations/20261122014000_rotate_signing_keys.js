// A key's state follows from its times on the database's clock, so all processes change over at the same moment without
// telling each other. `state` is read no longer and leaves with the next release: its default keeps a process of the
// release before from signing with a key that is only published ahead.
export async function up(knex) {
  await knex.raw(`
    alter table signing_keys
      add column active_from timestamptz,
      add column retired_at timestamptz,
      add column origin text not null default 'generated'
        constraint signing_keys_origin_known check (origin in ('generated', 'file')),
      alter column state set default 'published';
    update signing_keys set active_from = created_at, retired_at = case when state = 'retired' then now() end;
    alter table signing_keys alter column active_from set not null;
  `)
}

export async function down(knex) {
  await knex.raw(`
    alter table signing_keys drop column active_from, drop column retired_at, drop column origin,
      alter column state drop default
  `)
}
