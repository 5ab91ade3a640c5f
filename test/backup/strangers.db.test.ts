import assert from 'node:assert/strict'
import { cp, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { createAuditLog } from '../../src/audit/audit-log.js'
import type { Frame } from '../../src/backup/archive-frames.js'
import type { Manifest } from '../../src/backup/archive-manifest.js'
import { ArchiveDamaged } from '../../src/backup/backup-errors.js'
import { type Database, openPool, sqlRows } from '../../src/storage/database.js'
import { MIGRATIONS_DIR, migrate } from '../../src/storage/migrator.js'
import { createTestDatabase, type TestDatabase } from '../support/postgres.js'
import { type PostgresServer, startPostgresServer } from '../support/postgres-server.js'
import {
  backUp,
  contents,
  createEmptyDatabase,
  emptyDatabase,
  fill,
  restore,
  rewrite,
} from './archive-rig.js'

const asJson = (value: unknown): Buffer => Buffer.from(JSON.stringify(value))

describe('backup and restore where others were at work', function () {
  this.timeout(60_000)
  let source: TestDatabase
  let target: TestDatabase
  before(async () => {
    source = await createTestDatabase()
    target = await createEmptyDatabase()
    await fill(source.db)
  })
  beforeEach(async () => emptyDatabase(target.db))
  after(async () => {
    await source?.close()
    await target?.close()
  })

  it('leaves tables of others out, whatever they refer to, and says so', async () => {
    await source.db.raw(
      `create table notes (id bigserial primary key, other bigint references notes);
       create table notes_a (id bigint primary key); create table notes_b (id bigint primary key references notes_a);
       alter table notes_a add foreign key (id) references notes_b deferrable`,
    )
    try {
      const { archive, result } = await backUp(source.url)
      assert.deepEqual(result.warnings, [
        "not in it, because they are not firebreak's: notes, notes_a, notes_b",
      ])
      assert.deepEqual((await restore(target.url, archive)).warnings, [])
      assert.equal('notes' in (await contents(target.db)), false)
    } finally {
      await source.db.raw('drop table notes, notes_a, notes_b')
    }
  })

  it('restores around a column of others, and around another order of columns', async () => {
    const receivers = await sqlRows(source.db, 'select * from receivers')
    await source.db.raw(
      `alter table receivers add column "our note" text default E'a\tb'; alter table receivers rename column name to was;
       alter table receivers add column name text; update receivers set name = was; alter table receivers drop column was;
       alter table receivers alter column name set not null`,
    )
    const { archive } = await backUp(source.url)
    const { warnings } = await restore(target.url, archive)
    assert.deepEqual(warnings, [
      'left out, because this firebreak does not know it: column receivers.our note',
    ])
    assert.deepEqual(await sqlRows(target.db, 'select * from receivers'), receivers)
    await source.db.raw('alter table receivers drop column "our note"')
  })

  it('reads past tables that it does not know, in an archive of a program that knew more', async () => {
    const directory = await mkdtemp(path.join(tmpdir(), 'firebreak-migrations-'))
    const added = '29991231000000_nothing.js'
    try {
      await cp(MIGRATIONS_DIR, directory, { recursive: true })
      await writeFile(path.join(directory, 'package.json'), '{"type":"module"}')
      await writeFile(
        path.join(directory, added),
        'export async function up() {}\nexport async function down() {}\n',
      )
      await source.db.raw(
        'create table notes (id bigserial primary key, text text); insert into notes (text) values (repeat($$x$$, 99999))',
      )
      await sqlRows(
        source.db,
        'insert into schema_migrations (name, batch, migration_time) values (?, 99, now())',
        [added],
      )
      const { archive, result } = await backUp(source.url)
      assert.deepEqual(result.warnings, [])
      const { warnings } = await restore(target.url, archive, { migrationsDir: directory })
      assert.deepEqual(warnings, [
        'left out, because this firebreak does not know it: table notes, sequence notes_id_seq',
      ])
      const [row] = await sqlRows<{ n: number }>(target.db, 'select count(*) n from stream_subjects')
      assert.equal(row?.n, 300)
    } finally {
      await rm(directory, { recursive: true })
      await source.db.raw('drop table notes')
      await sqlRows(source.db, 'delete from schema_migrations where name = ?', [added])
    }
  })

  it('calls what no manifest may say damaged', async () => {
    const { archive } = await backUp(source.url)
    const wrong: ((manifest: Manifest) => object)[] = [
      (manifest) => ({ ...manifest, keys: 'other' }),
      (manifest) => ({ ...manifest, hub_version: '\u001b[2J' }),
      (manifest) => ({ ...manifest, made_at: 'yesterday' }),
      (manifest) => ({ ...manifest, days: ['2026-99-99'] }),
      (manifest) => ({ ...manifest, log_positions: [{ lane: 'urgent', partitions: [{ partition: 0 }] }] }),
      (manifest) => ({ ...manifest, tables: [...manifest.tables, null] }),
      (manifest) => ({ ...manifest, tables: [...manifest.tables, manifest.tables[0]] }),
      (manifest) => ({ ...manifest, sequences: [] }),
      (manifest) => ({
        ...manifest,
        sequences: [{ name: 'event_log_id_seq', value: '99999999999999999999', called: true }],
      }),
      (manifest) => ({ ...manifest, sequences: manifest.sequences.map((each) => ({ ...each, value: '0' })) }),
    ]
    for (const change of wrong) {
      const changed = await withManifest(archive, change)
      await assert.rejects(restore(target.url, changed), ArchiveDamaged, change.toString())
    }
    const bare = await rewrite(archive, (frames) =>
      frames.map((frame) =>
        frame.kind === 'table' || frame.kind === 'tableEnd' ? { ...frame, payload: asJson(null) } : frame,
      ),
    )
    await assert.rejects(restore(target.url, bare), ArchiveDamaged)
  })

  it('takes as long as it takes, whatever limits the database has', async () => {
    for (const { db } of [source, target]) await limit(db, "'77s'")
    const limits = async (db: Database) =>
      (
        await sqlRows<{ setting: string }>(
          db,
          `select setting from pg_settings
           where name in ('statement_timeout', 'lock_timeout', 'idle_in_transaction_session_timeout')`,
        )
      ).map(({ setting }) => setting)
    const found: string[][] = []
    const { archive } = await backUp(source.url, {
      async describeKeys(db) {
        found.push(await limits(db))
        return 'plain'
      },
    })
    await restore(target.url, archive, {
      audit: {
        async record(trx, entry) {
          found.push(await limits(trx))
          await createAuditLog().record(trx, entry)
        },
      },
    })
    assert.deepEqual(found, Array(2).fill(['0', '0', '0']))
    for (const { db } of [source, target]) await limit(db, 'default')

    async function limit(db: Database, to: string): Promise<void> {
      for (const name of ['statement_timeout', 'lock_timeout', 'idle_in_transaction_session_timeout'])
        await db.raw(
          `do $$ begin execute format('alter database %I set ${name} = ${to.replaceAll("'", "''")}', current_database()); end $$`,
        )
    }
  })
})

describe('a backup of a replica', function () {
  this.timeout(60_000)
  let server: PostgresServer
  before(async () => {
    server = await startPostgresServer()
    const db = openPool(server.url, { name: 'test', max: 1 })
    await migrate(db)
    const [row] = await sqlRows<{ folder: string }>(db, "select current_setting('data_directory') folder")
    await db.destroy()
    await server.stop()
    // One that follows nobody: it is in recovery, and answers reads.
    await writeFile(path.join(row?.folder ?? '', 'standby.signal'), '')
    await server.start()
  })
  after(async () => server?.remove())

  it('has no positions of a log that it may be behind, and says so', async () => {
    let asked = false
    const { result } = await backUp(server.url, {
      async logPositions() {
        asked = true
        return []
      },
    })
    assert.equal(asked, false)
    assert.equal(result.manifest.log_positions, null)
    assert.match(
      result.warnings.join(),
      /Kafka's positions are not in it, because this database is a replica/,
    )
  })
})

function withManifest(archive: Buffer, change: (manifest: Manifest) => object): Promise<Buffer> {
  return rewrite(archive, ([first, ...rest]) => {
    const manifest = JSON.parse((first as Frame).payload.toString()) as Manifest
    return [{ kind: 'manifest', payload: asJson(change(manifest)) }, ...rest]
  })
}
