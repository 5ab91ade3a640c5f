import { Readable, Writable } from 'node:stream'
import { gunzipSync, gzipSync } from 'node:zlib'
import { createAuditLog } from '../../src/audit/audit-log.js'
import { decodeFrames, encodeFrame, type Frame } from '../../src/backup/archive-frames.js'
import { type BackupOptions, type BackupResult, writeBackup } from '../../src/backup/backup-service.js'
import { type RestoreOptions, type RestoreResult, restoreBackup } from '../../src/backup/restore-service.js'
import { describeRing } from '../../src/keys/key-ring.js'
import { type Database, sqlRows } from '../../src/storage/database.js'
import { createTestDatabase, type TestDatabase } from '../support/postgres.js'

/** A database without any table, as createdb makes it. */
export async function createEmptyDatabase(): Promise<TestDatabase> {
  const database = await createTestDatabase()
  await emptyDatabase(database.db)
  return database
}

export async function emptyDatabase(db: Database): Promise<void> {
  await db.raw('drop schema public cascade; create schema public')
}

export async function backUp(
  databaseUrl: string,
  options: Partial<BackupOptions> = {},
): Promise<{ archive: Buffer; result: BackupResult }> {
  const chunks: Buffer[] = []
  const out = new Writable({
    write(chunk: Buffer, _encoding, done) {
      chunks.push(chunk)
      done()
    },
  })
  const result = await writeBackup({
    databaseUrl,
    hubVersion: '0.0.0-test',
    out,
    signal: new AbortController().signal,
    describeKeys: describeRing,
    ...options,
  })
  return { archive: Buffer.concat(chunks), result }
}

export function restore(
  databaseUrl: string,
  archive: Buffer,
  options: Partial<RestoreOptions> = {},
): Promise<RestoreResult> {
  return restoreBackup({
    databaseUrl,
    // In pieces that fit no frame.
    input: Readable.from(pieces(archive, 4_999)),
    signal: new AbortController().signal,
    audit: createAuditLog(),
    ...options,
  })
}

function* pieces(archive: Buffer, size: number): Generator<Buffer> {
  for (let at = 0; at < archive.length; at += size) yield archive.subarray(at, at + size)
}

/** The same archive with other frames, packed anew: only its own checks can notice. */
export async function rewrite(archive: Buffer, change: (frames: Frame[]) => Frame[]): Promise<Buffer> {
  const end = archive.indexOf('\n') + 1
  const frames: Frame[] = []
  for await (const frame of decodeFrames(Readable.from([gunzipSync(archive.subarray(end))])))
    frames.push(frame)
  const packed = gzipSync(Buffer.concat(change(frames).map(encodeFrame)))
  return Buffer.concat([archive.subarray(0, end), packed])
}

/** Count and digest of the rows of each table, partitions included with their parents. */
export async function contents(
  db: Database,
  except: readonly string[] = [],
): Promise<Record<string, string>> {
  const tables = await sqlRows<{ name: string }>(
    db,
    `select relname::text name from pg_class where relnamespace = 'public'::regnamespace and relkind in ('r', 'p')
       and not relispartition and relname <> all(?) order by 1`,
    [except],
  )
  const found: Record<string, string> = {}
  for (const { name } of tables) {
    const [row] = await sqlRows<{ digest: string }>(
      db,
      `select count(*) || ' ' || coalesce(md5(string_agg(t::text, '|' order by t::text)), '') as digest from "${name}" t`,
    )
    found[name] = row?.digest ?? ''
  }
  return found
}

const AWKWARD = "tab\t backslash \\ newline \n \\N return \r quote ' ü 🔥"

/** Rows of every kind of column, days with and without partitions of the week, and what triggers write. */
export async function fill(db: Database): Promise<void> {
  await db.raw(
    `select ensure_day_partitions((now() at time zone 'utc')::date - 20, (now() at time zone 'utc')::date - 18)`,
  )
  const [ids] = await sqlRows<{ receiver: string; stream: string; event: string }>(
    db,
    'select gen_random_uuid()::text receiver, gen_random_uuid()::text stream, gen_random_uuid()::text event',
  )
  const { receiver, stream, event } = ids as { receiver: string; stream: string; event: string }
  await sqlRows(
    db,
    `insert into receivers (id, name, client_id, audience, reports, compatibility, grant_event_types, jwks)
     values (?, ?, 'c1', 'aud', '{"applied"}', '{}', ?, ?)`,
    [receiver, AWKWARD, [AWKWARD, 'b'], JSON.stringify({ keys: [{ kid: AWKWARD }] })],
  )
  // Held by its receiver: a trigger writes stream_holds, whose rows may be gone by the time of the backup.
  await sqlRows(
    db,
    `insert into streams (stream_id, receiver_id, shard, status, delivery_method, authorization_wrapped)
     select unnest(array[?, gen_random_uuid()]::uuid[]), ?, 3, 'paused', 'poll', ?`,
    [stream, receiver, Buffer.from([0, 9, 10, 13, 92, 255])],
  )
  await sqlRows(db, 'delete from stream_holds where stream_id <> ?', [stream])
  await sqlRows(
    db,
    `insert into stream_subjects (stream_id, match_hash, mode, subject_wrapped)
     select ?, sha256(n::text::bytea), 'added', sha256(n::text::bytea) from generate_series(1, 300) n`,
    [stream],
  )
  await sqlRows(
    db,
    `insert into events (event_id, day, accepted_at, lane, effect, type, txn, source_id, source_issuer, source_jti, event_timestamp)
     select gen_random_uuid(), (now() at time zone 'utc')::date - ago, clock_timestamp(), 1, 'tightens', 't', ?, ?, ?, n::text,
       timestamptz '2026-01-31T10:00:00.123456Z'
     from generate_series(1, 50) n, unnest(array[0, 19]) ago`,
    [AWKWARD, receiver, AWKWARD],
  )
  await sqlRows(
    db,
    `insert into event_log (lane, slot, event_id, record) select 1, n % 64, ?, ? from generate_series(1, 20) n`,
    [event, AWKWARD],
  )
  await sqlRows(
    db,
    `insert into delivery_queue (stream_id, lane, event_id, day, receiver_id, shard, type, effect, txn, source_id, accepted_at, expects)
     values (?, 1, ?, (now() at time zone 'utc')::date, ?, 3, 't', 'tightens', 'txn', ?, now(), 1)`,
    [stream, event, receiver, receiver],
  )
  await sqlRows(db, `insert into hub_processes (process_id, roles) values (gen_random_uuid(), '{delivery}')`)
  await sqlRows(
    db,
    `insert into oauth_artifacts (model, id_hash, payload) values ('ClientCredentials', '\\x01', '{}')`,
  )
  await sqlRows(
    db,
    `update leases set owner = gen_random_uuid(), epoch = 7, expires_at = now() + interval '1 hour' where kind = 'delivery'`,
  )
  await createSealedKeys(db)
}

async function createSealedKeys(db: Database): Promise<void> {
  await sqlRows(
    db,
    `insert into key_ring (key_id, secret, check_value, active_from) values ('0a0b0c0d', sha256('a'), sha256('b'), now())`,
  )
}
