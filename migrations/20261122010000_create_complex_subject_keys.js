// Complex subjects are found by combinations of their members: an event about a tenant then meets one row per stream,
// however many subjects of the stream name that tenant. Additive: nothing that older programs use changes.
export async function up(knex) {
  await knex.raw(`
    -- A subject of n members has a row per non-empty set of its members; subjects of one stream share rows.
    create table complex_subject_keys (
      -- sha256 of the members' hashes, in the order of their bytes.
      match_hash bytea not null,
      stream_id uuid not null references streams on delete cascade,
      -- The names of the subject's other members, in the order of their bytes.
      rest text[] not null,
      -- Subjects of the stream that this row stands for, by mode.
      added integer not null constraint complex_subject_keys_added_counted check (added >= 0),
      removed integer not null constraint complex_subject_keys_removed_counted check (removed >= 0),
      -- The newest removal among them.
      removed_at timestamptz,
      primary key (match_hash, stream_id, rest)
    );
    create index complex_subject_keys_stream on complex_subject_keys (stream_id);

    -- Nobody could name more than seven members before a limit said so, short of making them up.
    with recursive member as (
      select stream_id, complex_hash, mode, changed_at, member, match_hash,
        array_agg(member) over subject as members, count(*) over subject as size
      from stream_subjects where complex_hash <> ''
      window subject as (partition by stream_id, complex_hash)
    ), combination as (
      select stream_id, complex_hash, mode, changed_at, members, match_hash as joined, match_hash as last, array[member] as names
      from member where size <= 7
      union all
      select c.stream_id, c.complex_hash, c.mode, c.changed_at, c.members, c.joined || m.match_hash, m.match_hash, c.names || m.member
      from combination c
      join member m on m.stream_id = c.stream_id and m.complex_hash = c.complex_hash and m.match_hash > c.last
    )
    insert into complex_subject_keys (match_hash, stream_id, rest, added, removed, removed_at)
    select sha256(joined), stream_id, rest, count(*) filter (where mode = 'added'), count(*) filter (where mode = 'removed'),
      max(changed_at) filter (where mode = 'removed')
    from combination cross join lateral (
      select coalesce(array_agg(name order by name collate "C"), '{}') as rest
      from unnest(members) as name where name <> all (names)
    ) others
    group by joined, stream_id, rest;

    -- A complex subject now counts by what it costs: 1, 2, 4, 8 … for 1, 2, 3, 4 … members.
    update streams s set subject_count = counted.n from (
      select stream_id, sum(cost)::integer as n from (
        select stream_id,
          case when complex_hash = '' then count(*) else power(2, least(count(*), 7) - 1) end as cost
        from stream_subjects group by stream_id, complex_hash
      ) subjects group by stream_id
    ) counted where counted.stream_id = s.stream_id;
  `)
}

export async function down(knex) {
  await knex.raw('drop table complex_subject_keys')
}
