import assert from 'node:assert/strict'
import { cp, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { Writable } from 'node:stream'
import type { Frame } from '../../src/backup/archive-frames.js'
import type { Manifest } from '../../src/backup/archive-manifest.js'
import {
  ArchiveDamaged,
  ArchiveUnknown,
  NothingToBackUp,
  OutputFailed,
  TargetNotEmpty,
} from '../../src/backup/backup-errors.js'
import { findLastRestore } from '../../src/backup/restored-read-model.js'
import { openPool, sqlRows } from '../../src/storage/database.js'
import { MIGRATIONS_DIR, migrate } from '../../src/storage/migrator.js'
import { createTestDatabase, type TestDatabase } from '../support/postgres.js'
import { waitUntil } from '../support/wait.js'
import {
  backUp,
  contents,
  createEmptyDatabase,
  emptyDatabase,
  fill,
  restore,
  rewrite,
} from './archive-rig.js'

/** What a restore changes on purpose. */
const OTHERWISE = [
  'hub_processes',
  'oauth_artifacts',
  'leases',
  'audit_log',
  'schema_migrations',
  'schema_migrations_lock',
]

describe('backup and restore', function () {
  this.timeout(60_000)
  let source: TestDatabase
  let target: TestDatabase
  let archive: Buffer
  /** What the archive must bring back. */
  let held: Record<string, string>
  before(async () => {
    source = await createTestDatabase()
    target = await createEmptyDatabase()
    await fill(source.db)
    ;({ archive } = await backUp(source.url))
    held = await contents(source.db, OTHERWISE)
  })
  beforeEach(async () => emptyDatabase(target.db))
  after(async () => {
    await source?.close()
    await target?.close()
  })

  const tablesOf = async (database: TestDatabase) => Object.keys(await contents(database.db))

  async function refused(bytes: Buffer, error: new (text: string) => Error, text: RegExp): Promise<void> {
    await assert.rejects(restore(target.url, bytes), (found) => {
      assert.ok(found instanceof error, String(found))
      assert.match(found.message, text)
      return true
    })
    // Nothing of it stays, and another try may follow.
    assert.deepEqual(await tablesOf(target), [])
  }

  it('brings every row of every table back as it was, partitions and sequences too', async () => {
    const { rows, manifest } = await restore(target.url, archive)
    assert.deepEqual(await contents(target.db, OTHERWISE), held)
    assert.ok(rows > 700, `${rows} rows`)
    assert.equal(manifest.hub_version, '0.0.0-test')
    const next = 'select nextval(pg_get_serial_sequence(?, ?)) as id'
    const [there] = await sqlRows<{ id: number }>(source.db, next, ['event_log', 'id'])
    const [here] = await sqlRows<{ id: number }>(target.db, next, ['event_log', 'id'])
    assert.equal(here?.id, there?.id)
  })

  it('leaves nobody of that time alive: units are free, under epochs that nobody can hold', async () => {
    await restore(target.url, archive)
    const [found] = await sqlRows<{ processes: number; owned: number; low: number; tokens: number }>(
      target.db,
      `select (select count(*) from hub_processes) processes, (select count(*) from oauth_artifacts) tokens,
         count(*) filter (where owner is not null or expires_at > now()) owned, count(*) filter (where epoch < 1e12) low from leases`,
    )
    assert.deepEqual(found, { processes: 0, tokens: 0, owned: 0, low: 0 })
  })

  it('writes who, when and of what age into the audit log, where log rewind finds it', async () => {
    const positions = [{ lane: 'urgent', partitions: [{ partition: 0, offset: '12' }] }]
    const made = await backUp(source.url, { logPositions: async () => positions })
    await restore(target.url, made.archive)
    const [row] = await sqlRows<{ actor: string; detail: object }>(
      target.db,
      "select actor, detail from audit_log where action = 'backup.restored'",
    )
    assert.equal(row?.actor, 'database access')
    const last = await findLastRestore(target.db)
    assert.deepEqual(last?.logPositions, positions)
    assert.equal(last?.madeAt.toISOString(), made.result.manifest.made_at)
  })

  it('is one moment of the database, whatever is written while it is read', async () => {
    let writing = true
    const writer = (async () => {
      for (let n = 0; writing; n += 1) {
        // Both or neither: a copy that sees one of them saw two moments.
        await source.db.transaction(async (trx) => {
          await trx.raw(
            'insert into event_types (id, type, effect) values (gen_random_uuid(), ?, \'"neutral"\')',
            [`w${n}`],
          )
          await trx.raw('insert into retired_tokens (token_hash) values (?)', [Buffer.from(`w${n}`)])
        })
      }
    })()
    const { archive: moving } = await backUp(source.url, {
      onProgress: () => {},
      describeKeys: async () => {
        // Within the snapshot: what commits from here on is not in it.
        const before = await count('event_types')
        await waitUntil('more was written', async () => (await count('event_types')) > before + 5)
        return 'plain'
      },
    })
    writing = false
    await writer
    await restore(target.url, moving)
    const [found] = await sqlRows<{ types: number; tokens: number }>(
      target.db,
      'select (select count(*) from event_types) types, (select count(*) from retired_tokens) tokens',
    )
    assert.equal(found?.types, found?.tokens)
    assert.ok((found?.types ?? 0) < (await count('event_types')))

    async function count(table: string): Promise<number> {
      const [row] = await sqlRows<{ n: number }>(source.db, `select count(*) n from ${table}`)
      return row?.n ?? 0
    }
  })

  it('refuses a target that holds tables, and says what to do', async () => {
    await migrate(target.db)
    const before = await contents(target.db)
    await assert.rejects(
      restore(target.url, archive),
      (error) => error instanceof TargetNotEmpty && /already holds \d+ tables.*createdb/.test(error.message),
    )
    assert.deepEqual(await contents(target.db), before)
  })

  it('lets a hub that starts meanwhile wait for its end, and find all done', async () => {
    let starting: ReturnType<typeof migrate> | undefined
    const pool = openPool(target.url, { name: 'hub', max: 2 })
    try {
      await restore(target.url, archive, {
        onProgress() {
          starting ??= migrate(pool)
        },
      })
      assert.deepEqual(await starting, { applied: [] })
      assert.deepEqual(await contents(target.db, OTHERWISE), held)
    } finally {
      await pool.destroy()
    }
  })

  it('refuses to back up what is no database of firebreak', async () => {
    await assert.rejects(backUp(target.url), NothingToBackUp)
  })

  it('refuses what is no archive', async () => {
    await refused(Buffer.alloc(0), ArchiveUnknown, /not an archive/)
    await refused(Buffer.from('-- PostgreSQL database dump\n\nselect 1;\n'), ArchiveUnknown, /not an archive/)
    await refused(Buffer.alloc(100_000, 'x'), ArchiveUnknown, /not an archive/)
    await refused(Buffer.from('firebreak backup 1\nnot packed'), ArchiveDamaged, /does not unpack/)
  })

  it('refuses an archive of a newer format', async () => {
    const newer = Buffer.concat([
      Buffer.from('firebreak backup 2\n'),
      archive.subarray(archive.indexOf('\n') + 1),
    ])
    await refused(newer, ArchiveUnknown, /format 2, and this firebreak knows up to 1/)
  })

  it('refuses an archive that is cut off, wherever', async () => {
    const first = archive.indexOf('\n') + 1
    const places = [
      first,
      first + 5,
      first + 200,
      archive.length >> 1,
      archive.length - 20,
      archive.length - 1,
    ]
    for (const end of places) await refused(archive.subarray(0, end), ArchiveDamaged, /cut off/)
    // Whole for the compression, but without its last parts.
    for (const drop of [1, 2, 5]) {
      const short = await rewrite(archive, (frames) => frames.slice(0, -drop))
      await refused(short, ArchiveDamaged, /cut off/)
    }
  })

  it('refuses an archive of which one byte is another, wherever', async () => {
    for (let part = 1; part < 12; part += 1) {
      const changed = Buffer.from(archive)
      const at = Math.floor((archive.length * part) / 12)
      changed[at] = (changed[at] ?? 0) ^ 0x20
      await assert.rejects(restore(target.url, changed), (error) => {
        // What was changed may be the list of its tables.
        assert.ok(
          error instanceof ArchiveDamaged || error instanceof ArchiveUnknown,
          `byte ${at}: ${String(error)}`,
        )
        return true
      })
      assert.deepEqual(await tablesOf(target), [])
    }
  })

  it('notices by its own sums what compression cannot: changed, missing, doubled and moved parts', async () => {
    const change = (kind: Frame['kind'], edit: (payload: string) => string) => (frames: Frame[]) => {
      const at = frames.findIndex(
        (frame) => frame.kind === kind && edit(frame.payload.toString()) !== frame.payload.toString(),
      )
      assert.ok(at >= 0)
      const { payload } = frames[at] as Frame
      return frames.with(at, { kind, payload: Buffer.from(edit(payload.toString())) })
    }
    const cases: [string, (frames: Frame[]) => Frame[], RegExp][] = [
      ['a row', change('rows', (text) => text.replace('aud', 'due')), /not as it was written/],
      [
        'a name in the manifest',
        change('manifest', (text) => text.replace('0.0.0-test', '0.0.1-test')),
        /do not fit/,
      ],
      ['a count', change('tableEnd', (text) => text.replace('"rows":300', '"rows":299')), /300/],
      ['the whole count', change('end', (text) => text.replace('"rows":', '"rows":1')), /do not fit/],
      ['rows left out', (frames) => frames.filter(({ kind }) => kind !== 'rows'), /not as it was written/],
      [
        'a table twice',
        (frames) => [...frames.slice(0, -1), ...tableOf(frames, 0), ...frames.slice(-1)],
        /twice/,
      ],
      ['a table left out', (frames) => without(frames, tableOf(frames, 0)), /lacks/],
      ['something after the end', (frames) => [...frames, frames.at(-1) as Frame], /follows its end/],
      [
        'rows without a table',
        (frames) => [frames[0] as Frame, ...frames.filter(({ kind }) => kind === 'rows')],
        /order/,
      ],
    ]
    for (const [, edit, text] of cases) await refused(await rewrite(archive, edit), ArchiveDamaged, text)

    function tableOf(frames: Frame[], from: number): Frame[] {
      const begin = frames.findIndex(({ kind }, at) => at >= from && kind === 'table')
      const end = frames.findIndex(({ kind }, at) => at > begin && kind === 'tableEnd')
      return frames.slice(begin, end + 1)
    }
    function without(frames: Frame[], some: Frame[]): Frame[] {
      return frames.filter((frame) => !some.includes(frame))
    }
  })

  it('refuses an archive whose schema it does not know, and takes an older one to the present', async () => {
    const directory = await mkdtemp(path.join(tmpdir(), 'firebreak-migrations-'))
    try {
      await cp(MIGRATIONS_DIR, directory, { recursive: true })
      await writeFile(path.join(directory, 'package.json'), '{"type":"module"}')
      const up = `await knex.raw("alter table receivers add column nickname text; update receivers set nickname = 'was ' || client_id")`
      await writeFile(
        path.join(directory, '29991231000000_add_nickname.js'),
        `export async function up(knex) { ${up} }\nexport async function down() {}\n`,
      )
      const older = await restore(target.url, archive, { migrationsDir: directory })
      assert.deepEqual(older.migrated, ['29991231000000_add_nickname.js'])
      const rows = await sqlRows<{ nickname: string }>(target.db, 'select nickname from receivers')
      assert.deepEqual(rows, [{ nickname: 'was c1' }])
      // And from there back to a program that does not know that schema.
      const newer = await backUp(target.url)
      await emptyDatabase(target.db)
      await refused(
        newer.archive,
        ArchiveUnknown,
        /firebreak 0\.0\.0-test, whose schema .*29991231000000_add_nickname/,
      )
    } finally {
      await rm(directory, { recursive: true })
    }
  })

  it('refuses names that are no tables of its own', async () => {
    const other = await rewrite(archive, (frames) =>
      frames.map(({ kind, payload }) => ({
        kind,
        payload:
          kind === 'manifest'
            ? Buffer.from(payload.toString().replace('"client_id"', '"id\\" --"'))
            : payload,
      })),
    )
    await refused(other, ArchiveUnknown, /another receivers/)
    const hidden = await rewrite(archive, (frames) =>
      frames.map(({ kind, payload }) => ({
        kind,
        payload:
          kind === 'table' ? Buffer.from(payload.toString().replace('"receivers"', '"pg_authid"')) : payload,
      })),
    )
    await refused(hidden, ArchiveDamaged, /damaged at pg_authid/)
    const shapeless = await rewrite(archive, (frames) => [
      { kind: 'manifest', payload: Buffer.from(JSON.stringify({ tables: [] } satisfies Partial<Manifest>)) },
      ...frames.slice(1),
    ])
    await refused(shapeless, ArchiveUnknown, /does not understand/)
  })

  it('says how the keys stand in it', async () => {
    const { result } = await backUp(source.url)
    assert.equal(result.manifest.keys, 'plain')
    await source.db.raw("update key_ring set secret = secret || '\\x00'")
    const sealed = await backUp(source.url)
    assert.equal(sealed.result.manifest.keys, 'sealed')
  })

  it('leaves the database empty when it is interrupted, and another restore works', async () => {
    const stopping = new AbortController()
    const restoring = restore(target.url, archive, {
      signal: stopping.signal,
      onProgress: () => stopping.abort(new Error('interrupted')),
    })
    await assert.rejects(restoring)
    assert.deepEqual(await tablesOf(target), [])
    await restore(target.url, archive)
  })

  it('ends at once when the output takes no more, or the caller gives up', async () => {
    const full = new Writable({
      write: (_chunk, _encoding, done) => done(Object.assign(new Error('full'), { code: 'ENOSPC' })),
    })
    await assert.rejects(backUp(source.url, { out: full }), OutputFailed)
    const stopping = new AbortController()
    const never = new Writable({ write: () => void stopping.abort() })
    await assert.rejects(backUp(source.url, { out: never, signal: stopping.signal }), { name: 'AbortError' })
    await waitUntil('no connection is left', async () => {
      const [row] = await sqlRows<{ n: number }>(
        source.db,
        "select count(*) n from pg_stat_activity where application_name = 'firebreak backup' and datname = current_database()",
      )
      return row?.n === 0
    })
  })
})

describe('backup and restore of a large table', function () {
  this.timeout(180_000)
  let source: TestDatabase
  before(async () => {
    source = await createTestDatabase()
  })
  after(async () => source?.close())

  const insert = (rows: number, record: string) =>
    sqlRows(
      source.db,
      `insert into event_log (lane, slot, event_id, record)
       select 1, 0, gen_random_uuid(), ${record} from generate_series(1, ?::int) n`,
      [rows],
    )

  it('let the server wait while nobody takes what was read', async () => {
    // Random, so that it does not shrink on the way: 40 MB.
    await insert(20_000, "(select string_agg(md5(n::text || k), '') from generate_series(1, 60) k)")
    const stopping = new AbortController()
    const stuck = new Writable({ write() {} })
    const backup = backUp(source.url, { out: stuck, signal: stopping.signal })
    backup.catch(() => {})
    // For so long that a reader would have taken all of it many times over.
    let waiting = 0
    await waitUntil('the server waits for its client, and goes on waiting', async () => {
      const [row] = await sqlRows<{ waits: string }>(
        source.db,
        `select wait_event as waits from pg_stat_activity
         where application_name = 'firebreak backup' and datname = current_database()`,
      )
      waiting = row?.waits === 'ClientWrite' ? waiting + 1 : 0
      return waiting >= 60
    })
    stopping.abort()
    await assert.rejects(backup, { name: 'AbortError' })
    await source.db.raw('truncate event_log')
  })

  it('hold a bounded part of it in memory', async () => {
    const target = await createEmptyDatabase()
    try {
      await insert(200_000, 'repeat(md5(n::text), 40)')
      const made = await measured((sample) => backUp(source.url, { onProgress: sample }))
      assert.ok(made.result.bytes > 250_000_000, `${made.result.bytes} bytes`)
      assert.ok(made.peak < LIMIT_BYTES, `${made.peak} bytes held while writing`)
      const back = await measured((sample) => restore(target.url, made.archive, { onProgress: sample }))
      assert.ok(back.peak < LIMIT_BYTES, `${back.peak} bytes held while reading`)
      assert.equal(back.rows, made.result.rows)
    } finally {
      await target.close()
    }
  })

  const LIMIT_BYTES = 96 * 1024 * 1024

  /** The highest use of memory beyond the one at its begin, garbage included. */
  async function measured<T extends object>(
    work: (sample: () => void) => Promise<T>,
  ): Promise<T & { peak: number }> {
    const held = () => {
      const { heapUsed, external } = process.memoryUsage()
      return heapUsed + external
    }
    const before = held()
    let peak = 0
    const done = await work(() => {
      peak = Math.max(peak, held() - before)
    })
    return { ...done, peak }
  }
})
