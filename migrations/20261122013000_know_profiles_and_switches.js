// Profiles and compatibility switches are closed lists from here on; what was stored before had no effect.
export async function up(knex) {
  await knex.raw(`
    update receivers set compatibility = '{}' where compatibility <> '{}';
    update receivers set profile = null where profile is not null;
    alter table receivers
      add constraint receivers_profile_known check (profile in ('caep-interop')),
      -- What the profile demands of the receiver itself, whoever writes the row.
      add constraint receivers_profile_kept check (
        profile is null or (signing_alg = 'RS256' and default_subjects = 'ALL')
      ),
      -- Null: the hub's own; 0: never.
      add column inactivity_timeout_s integer constraint receivers_inactivity_possible check (inactivity_timeout_s >= 0);
  `)
}

export async function down(knex) {
  await knex.raw(`
    alter table receivers drop constraint receivers_profile_known, drop constraint receivers_profile_kept,
      drop column inactivity_timeout_s;
  `)
}
