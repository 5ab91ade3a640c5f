// Complex subjects: which member a row stands for, and a way to the other members of the same subject.
export async function up(knex) {
  await knex.raw(`
    -- '' for a simple subject; else the member's name, so that one differing member can be told from an absent one.
    alter table stream_subjects add column member text not null default '';
    alter table stream_subjects alter column complex_hash set default '';
    create index stream_subjects_complex on stream_subjects (stream_id, complex_hash) where complex_hash <> '';
    -- Kept with the rows, so that a limit costs no count of 100,000 rows at each call.
    alter table streams add column subject_count integer not null default 0;
  `)
}

export async function down(knex) {
  await knex.raw(`
    alter table streams drop column subject_count;
    drop index stream_subjects_complex;
    alter table stream_subjects drop column member;
  `)
}
