import assert from 'node:assert/strict'
import { cp, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { StartupError } from '../../src/kernel/errors.js'
import { openPool, sqlRows } from '../../src/storage/database.js'
import { knownMigrations, MIGRATIONS_DIR, migrate } from '../../src/storage/migrator.js'
import { createTestDatabase, type TestDatabase } from '../support/postgres.js'

describe('storage: migrator', () => {
  let test: TestDatabase
  let directory: string
  beforeEach(async () => {
    test = await createTestDatabase()
    directory = await mkdtemp(path.join(tmpdir(), 'firebreak-migrations-'))
    await cp(MIGRATIONS_DIR, directory, { recursive: true })
    await writeFile(path.join(directory, 'package.json'), '{"type":"module"}')
  })
  afterEach(async () => {
    await test.close()
    await rm(directory, { recursive: true })
  })

  async function emptySchema(): Promise<void> {
    await test.db.raw('drop schema public cascade; create schema public')
  }

  function addMigration(body: string): Promise<void> {
    return writeFile(path.join(directory, '29991231000000_create_extra.js'), migration(body))
  }

  const migration = (body: string): string =>
    `export async function up(knex) { ${body} }\nexport async function down() {}\n`

  it('makes the schema from nothing, with partitions for today and the week ahead, and then has nothing to do', async () => {
    await emptySchema()
    const { applied } = await migrate(test.db)
    assert.ok(applied.length >= 3)
    assert.ok(applied.every((name) => name.endsWith('.js')))
    const days = await sqlRows<{ n: number }>(
      test.db,
      `select count(*) n from generate_series((now() at time zone 'utc')::date - 1, (now() at time zone 'utc')::date + 7, '1 day') day
       where to_regclass('events_' || to_char(day, 'YYYYMMDD')) is not null`,
    )
    assert.equal(days[0]?.n, 9)
    assert.deepEqual(await migrate(test.db), { applied: [] })
  })

  it('lets three hubs that migrate at once all succeed, each migration applied once', async () => {
    await emptySchema()
    const pools = [1, 2, 3].map(() => openPool(test.url, { name: 'hub', max: 2 }))
    const results = await Promise.all(pools.map((pool) => migrate(pool)))
    await Promise.all(pools.map((pool) => pool.destroy()))
    assert.deepEqual(results.map((result) => result.applied.length > 0).sort(), [false, false, true])
  })

  it('recovers from a process that was killed half-way: nothing half-made stays, the next start goes on', async () => {
    await addMigration(`await knex.raw('create table extra (n int)'); throw new Error('killed here')`)
    await assert.rejects(migrate(test.db, directory), /killed here/)
    assert.equal(await test.db.schema.hasTable('extra'), false)
    // A killed process leaves knex's own lock marked.
    await test.db('schema_migrations_lock').update({ is_locked: 1 })
    await rm(path.join(directory, '29991231000000_create_extra.js'))
    await writeFile(
      path.join(directory, '29991231000001_create_extra.js'),
      `export async function up(knex) { await knex.raw('create table extra (n int)') }\nexport async function down() {}\n`,
    )
    assert.deepEqual((await migrate(test.db, directory)).applied, ['29991231000001_create_extra.js'])
    assert.equal(await test.db.schema.hasTable('extra'), true)
  })

  it('works on a schema to which a newer release only added', async () => {
    await addMigration(`await knex.raw('create table extra (n int)')`)
    await migrate(test.db, directory)
    assert.deepEqual(await migrate(test.db), { applied: [] })
    assert.equal(await test.db.schema.hasTable('extra'), true)
  })

  it('refuses a schema that needs a newer program, and names what it does not know', async () => {
    const needed = '29991231000000'
    const contract = `29991231000002_drop_extra.needs-${needed}.js`
    await addMigration(`await knex.raw('create table extra (n int)')`)
    await writeFile(path.join(directory, contract), migration(`await knex.raw('drop table extra')`))
    await migrate(test.db, directory)
    await assert.rejects(
      migrate(test.db),
      (error) => error instanceof StartupError && error.message.includes(`newer firebreak (${contract})`),
    )
    // The release in between knows what is needed, though not what was taken away.
    await rm(path.join(directory, contract))
    assert.deepEqual(await migrate(test.db, directory), { applied: [] })
  })

  it('refuses a schema of another line: with steps that it does not know, and without some that it does', async () => {
    await addMigration(`await knex.raw('create table extra (n int)')`)
    await migrate(test.db, directory)
    await rm(path.join(directory, '29991231000000_create_extra.js'))
    await writeFile(path.join(directory, '29991231000003_other.js'), migration(''))
    await assert.rejects(
      migrate(test.db, directory),
      (error) => error instanceof StartupError && /29991231000000_create_extra/.test(error.message),
    )
  })

  it('has no migration that takes something away without saying what it needs', async () => {
    const since = '20261123'
    const takes =
      /\b(drop (table|column|constraint)|rename (to|column)|alter column \w+ (set not null|type))\b/i
    const taking: string[] = []
    for (const name of await knownMigrations()) {
      const [up = ''] = (await readFile(path.join(MIGRATIONS_DIR, name), 'utf8')).split(
        'export async function down',
      )
      if (takes.test(up)) taking.push(name)
    }
    // Before 0.1.0 nothing was carried on; that these are found shows that others would be.
    assert.ok(taking.some((name) => name < since))
    const unmarked = taking.filter((name) => name >= since && !/\.needs-\d{14}\.js$/.test(name))
    assert.deepEqual(unmarked, [], 'an older program may still use it, see docs/operating.md')
  })

  it('refuses a database that answers commits before they are on disk', async () => {
    await test.db.raw(
      "do $$ begin execute format('alter database %I set synchronous_commit = off', current_database()); end $$",
    )
    const pool = openPool(test.url, { name: 'hub', max: 2 })
    try {
      await assert.rejects(
        migrate(pool),
        (error) => error instanceof StartupError && /synchronous_commit is off/.test(error.message),
      )
    } finally {
      await pool.destroy()
    }
  })
})
