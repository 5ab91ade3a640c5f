// The path of an event: log, dedupe, events, open deliveries, results, acknowledgements.
export async function up(knex) {
  await knex.raw(`
    -- A queue, not a cursor: bigserial order is not commit order.
    create table event_log (
      id bigserial primary key,
      lane smallint not null,
      slot smallint not null,
      event_id uuid not null,
      record text not null,
      appended_at timestamptz not null default clock_timestamp(),
      -- Fanned out, kept only until a relay has copied it to Kafka for other readers.
      relay boolean not null default false
    );
    create index event_log_open on event_log (lane, id) where not relay;
    create index event_log_relay on event_log (id) where relay;

    -- A fan-out transaction locks the rows of its slots, so repeats are looked up one batch at a time.
    create table partition_fences (
      lane smallint not null,
      slot smallint not null,
      epoch bigint not null default 0,
      primary key (lane, slot)
    );
    insert into partition_fences (lane, slot)
      select lane, slot from generate_series(0, 2) lane, generate_series(0, 63) slot;

    create table event_keys (
      key_hash bytea not null,
      day date not null,
      content_hash bytea not null,
      event_id uuid not null,
      primary key (key_hash, day)
    ) partition by range (day);

    create table events (
      event_id uuid not null,
      day date not null,
      accepted_at timestamptz not null,
      lane smallint not null,
      effect text not null,
      type text not null,
      txn text not null,
      source_id uuid not null,
      source_issuer text not null,
      source_jti text not null,
      event_timestamp timestamptz,
      order_hash bytea,
      -- sub_id and claims under the day's key: erasing the key erases them.
      content bytea,
      quarantine text,
      primary key (event_id, day)
    ) partition by range (day);
    create index events_txn on events (txn);
    create index events_accepted on events (accepted_at);

    -- The hub order of each subject's newest tightening event: the whole safe-order check.
    create table subject_orders (
      order_hash bytea primary key,
      newest_tightening uuid not null,
      day date not null
    );
    create index subject_orders_day on subject_orders (day);

    create table delivery_queue (
      stream_id uuid not null,
      lane smallint not null,
      event_id uuid not null,
      day date not null,
      receiver_id uuid not null,
      shard smallint not null,
      jti text not null,
      type text not null,
      effect text not null,
      txn text not null,
      source_id uuid not null,
      order_hash bytea,
      accepted_at timestamptz not null,
      event_timestamp timestamptz,
      -- Stages that this point has declared it reports: 1 received, 2 applied, 4 verified. 0: not measured.
      expects smallint not null,
      rendering smallint not null default 1,
      queued_at timestamptz not null default clock_timestamp(),
      delivered_at timestamptz,
      attempts integer not null default 0,
      next_attempt_at timestamptz not null default clock_timestamp(),
      last_failure text,
      primary key (stream_id, lane, event_id)
    ) with (fillfactor = 85);
    create index delivery_queue_jti on delivery_queue (jti);
    create index delivery_queue_shard on delivery_queue (shard, next_attempt_at);

    create table deliveries (
      stream_id uuid not null,
      event_id uuid not null,
      day date not null,
      receiver_id uuid not null,
      lane smallint not null,
      jti text not null,
      type text not null,
      effect text not null,
      txn text not null,
      source_id uuid not null,
      accepted_at timestamptz not null,
      event_timestamp timestamptz,
      expects smallint not null,
      queued_at timestamptz not null,
      delivered_at timestamptz,
      received_at timestamptz,
      finished_at timestamptz not null default clock_timestamp(),
      outcome text not null constraint deliveries_outcome_known
        check (outcome in ('received', 'superseded', 'discarded', 'deleted', 'expired')),
      attempts integer not null,
      failure text,
      primary key (stream_id, event_id, day)
    ) partition by range (day);
    create index deliveries_jti on deliveries (jti);
    create index deliveries_txn on deliveries (txn);
    create index deliveries_accepted on deliveries (accepted_at);

    -- What cannot go on by itself: a rejected SET, a bad record. Each with its reason, replayable alone.
    create table parked (
      id uuid primary key,
      kind text not null constraint parked_kind_known check (kind in ('delivery', 'event', 'record')),
      parked_at timestamptz not null default clock_timestamp(),
      code text not null,
      reason text not null,
      lane smallint,
      stream_id uuid,
      event_id uuid,
      type text,
      txn text,
      -- The delivery_queue row of a parked delivery, or the raw bytes of a record, encrypted.
      delivery jsonb,
      record bytea,
      resolved_at timestamptz,
      resolution text
    );
    create index parked_open on parked (parked_at) where resolved_at is null;
    create index parked_stream on parked (stream_id, event_id);

    create table acknowledgements (
      stream_id uuid not null,
      event_id uuid not null,
      day date not null,
      receiver_id uuid not null,
      jti text not null,
      stage text not null constraint acknowledgements_stage_known check (stage in ('applied', 'verified')),
      status text not null constraint acknowledgements_status_known check (status in ('applied', 'failed', 'not_applicable', 'verified')),
      replica text not null default '',
      reason text,
      streams_cut integer,
      reported_at timestamptz not null default clock_timestamp(),
      primary key (stream_id, event_id, stage, status, replica, day)
    ) partition by range (day);

    create table latency_histograms (
      hour timestamptz not null,
      stage text not null,
      type text not null,
      source_id uuid not null,
      stream_id uuid not null,
      receiver_id uuid not null,
      -- 8 buckets per octave of ms; -1 open, -2 not applicable, -3 superseded, -4 paused, -5 deleted.
      bucket smallint not null,
      count bigint not null,
      max_ms double precision,
      primary key (hour, stage, type, source_id, stream_id, bucket)
    );
    create table latency_dirty_hours (
      hour timestamptz primary key
    );
    create table latency_folded_hours (
      hour timestamptz primary key,
      folded_at timestamptz not null default now()
    );

    create function ensure_day_partitions(first date, last date) returns void language plpgsql as $body$
    declare
      parent text;
      d date;
      part text;
    begin
      foreach parent in array array['event_keys', 'events', 'deliveries', 'acknowledgements'] loop
        for d in select generate_series(first, last, interval '1 day')::date loop
          part := parent || '_' || to_char(d, 'YYYYMMDD');
          if to_regclass(part) is null then
            execute format('create table %I partition of %I for values from (%L) to (%L)', part, parent, d, d + 1);
          end if;
        end loop;
      end loop;
    end
    $body$;
    select ensure_day_partitions(current_date - 1, current_date + 7);
  `)
}

export async function down(knex) {
  await knex.raw(`
    drop function ensure_day_partitions(date, date);
    drop table latency_folded_hours, latency_dirty_hours, latency_histograms, acknowledgements, parked, deliveries,
      delivery_queue, subject_orders, events, event_keys, partition_fences, event_log;
  `)
}
