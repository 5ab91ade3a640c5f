// Makes a day's tables alone and then attaches them: `create table … partition of` needs the parent for itself, so it waited
// behind any long reader, such as a backup, and every statement on events and deliveries waited behind it.
const PARENTS = `array['event_keys', 'events', 'deliveries', 'acknowledgements']`

export async function up(knex) {
  await knex.raw(`
    -- Attaching lets readers and writers go on; whoever does hold the parent is waited for briefly.
    create or replace function ensure_day_partitions(first date, last date) returns void language plpgsql
    set lock_timeout = '2s' as $body$
    declare
      parent text;
      d date;
      part text;
    begin
      foreach parent in array ${PARENTS} loop
        for d in select generate_series(first, last, interval '1 day')::date loop
          part := parent || '_' || to_char(d, 'YYYYMMDD');
          if to_regclass(part) is null then
            execute format('create table %I (like %I including all)', part, parent);
            execute format('alter table %I attach partition %I for values from (%L) to (%L)', parent, part, d, d + 1);
          end if;
        end loop;
      end loop;
    end
    $body$;
  `)
}

export async function down(knex) {
  await knex.raw(`
    create or replace function ensure_day_partitions(first date, last date) returns void language plpgsql as $body$
    declare
      parent text;
      d date;
      part text;
    begin
      foreach parent in array ${PARENTS} loop
        for d in select generate_series(first, last, interval '1 day')::date loop
          part := parent || '_' || to_char(d, 'YYYYMMDD');
          if to_regclass(part) is null then
            execute format('create table %I partition of %I for values from (%L) to (%L)', part, parent, d, d + 1);
          end if;
        end loop;
      end loop;
    end
    $body$;
  `)
}
