// What time to revoke needs beside the event path: when receivers held their own streams, which hours changed late.
export async function up(knex) {
  await knex.raw(`
    -- When a receiver itself had its stream paused or disabled: that time never counts against the hub.
    create table stream_holds (
      stream_id uuid not null,
      held_from timestamptz not null,
      held_until timestamptz,
      primary key (stream_id, held_from)
    );
    create unique index stream_holds_open on stream_holds (stream_id) where held_until is null;

    -- A trigger, so that no way of changing a status can forget it. It fires on status changes only.
    create function track_stream_hold() returns trigger language plpgsql as $body$
    declare
      held boolean := tg_op <> 'DELETE';
    begin
      if held then
        held := new.status <> 'enabled' and new.status_by = 'receiver';
      end if;
      if held then
        insert into stream_holds (stream_id, held_from) values (new.stream_id, clock_timestamp())
          on conflict (stream_id) where held_until is null do nothing;
      else
        update stream_holds set held_until = clock_timestamp()
          where stream_id = coalesce(new.stream_id, old.stream_id) and held_until is null;
      end if;
      return null;
    end
    $body$;
    create trigger streams_track_hold after insert or delete or update of status, status_by on streams
      for each row execute function track_stream_hold();
    insert into stream_holds (stream_id, held_from)
      select stream_id, updated_at from streams where status <> 'enabled' and status_by = 'receiver';

    -- Tells the folder that an hour changed again while it was being folded.
    alter table latency_dirty_hours add column marked_at timestamptz not null default clock_timestamp();

    -- deliveries are appended, so a block range index finds late results at next to no cost for writers.
    create index deliveries_finished on deliveries using brin (finished_at) with (pages_per_range = 16);
    create index parked_jti on parked ((delivery ->> 'jti')) where kind = 'delivery';
  `)
}

export async function down(knex) {
  await knex.raw(`
    drop index parked_jti;
    drop index deliveries_finished;
    alter table latency_dirty_hours drop column marked_at;
    drop trigger streams_track_hold on streams;
    drop function track_stream_hold();
    drop table stream_holds;
  `)
}
