import assert from 'node:assert/strict'
import { mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { sqlRows } from '../../src/storage/database.js'
import { type CommandRun, runCommand } from '../support/cli-run.js'
import { createTestDatabase, type TestDatabase } from '../support/postgres.js'
import { waitUntil } from '../support/wait.js'
import { backUp, contents, createEmptyDatabase, emptyDatabase, fill } from './archive-rig.js'

describe('the commands backup and restore', function () {
  this.timeout(60_000)
  let source: TestDatabase
  let target: TestDatabase
  let folder: string
  before(async () => {
    source = await createTestDatabase()
    target = await createEmptyDatabase()
    folder = await mkdtemp(path.join(tmpdir(), 'firebreak-backup-'))
    await fill(source.db)
    // More than any buffer on the way holds, so that a command can be met half-way.
    await sqlRows(
      source.db,
      `insert into event_log (lane, slot, event_id, record)
       select 1, 0, gen_random_uuid(), (select string_agg(md5(n::text || k), '') from generate_series(1, 60) k)
       from generate_series(1, 15000) n`,
    )
  })
  beforeEach(async () => {
    for (const name of await readdir(folder)) await rm(path.join(folder, name), { recursive: true })
    await emptyDatabase(target.db)
  })
  after(async () => {
    await source?.close()
    await target?.close()
    await rm(folder, { recursive: true })
  })

  const run = (database: TestDatabase, ...words: string[]): CommandRun =>
    runCommand(words, { env: { DATABASE_URL: database.url, DATA_DIR: path.join(folder, 'none') } })
  const file = (name: string) => path.join(folder, name)

  it('write a file for its owner alone, with a summary that says where the keys are, and bring it back', async () => {
    const made = await run(source, 'backup', '--out', file('a.backup')).ended
    assert.equal(made.code, 0, made.err)
    assert.match(made.out.toString(), /keys +in the archive, readable: who has the file can sign as this hub/)
    assert.equal((await stat(file('a.backup'))).mode & 0o777, 0o600)
    assert.deepEqual(await readdir(folder), ['a.backup'])
    const back = await run(target, 'restore', '--from', file('a.backup'), '--json').ended
    assert.equal(back.code, 0, back.err)
    const body = JSON.parse(back.out.toString()) as {
      rows: number
      keys: string
      migrated: string[]
      next: string[]
    }
    assert.equal(body.keys, 'plain')
    assert.ok(body.rows > 15_000 && body.next.length >= 3)
    assert.deepEqual(body.migrated, [])
    const { event_log } = await contents(target.db)
    assert.equal(event_log, (await contents(source.db)).event_log)
  })

  it('pass an archive from one to the other', async () => {
    const backup = runCommand(['backup', '--out', '-', '--json'], {
      env: { DATABASE_URL: source.url },
      stdout: 'given',
    })
    const restore = runCommand(['restore', '--from', '-'], {
      env: { DATABASE_URL: target.url },
      stdin: 'pipe',
    })
    backup.child.stdout?.pipe(restore.child.stdin as NodeJS.WritableStream)
    const [made, back] = await Promise.all([backup.ended, restore.ended])
    assert.deepEqual([made.code, back.code], [0, 0], made.err + back.err)
    // The archive is the answer; the summary goes beside it.
    assert.equal((JSON.parse(made.err) as { file: string }).file, '-')
    assert.match(back.out.toString(), /Next:\n {2}1\. /)
    assert.equal((await contents(target.db)).streams, (await contents(source.db)).streams)
  })

  it('refuse a file that is there, unless it may be replaced', async () => {
    await writeFile(file('a.backup'), 'yesterday')
    const refused = await run(source, 'backup', '--out', file('a.backup')).ended
    assert.equal(refused.code, 2)
    assert.match(refused.err, /--out: .*a\.backup exists: name another file, or give --force/)
    assert.equal(await readFile(file('a.backup'), 'utf8'), 'yesterday')
    const forced = await run(source, 'backup', '--out', file('a.backup'), '--force').ended
    assert.equal(forced.code, 0, forced.err)
    assert.match((await readFile(file('a.backup'))).toString('latin1', 0, 20), /^firebreak backup 1\n/)
  })

  it('say in one line what is wrong with a path, and exit with 2', async () => {
    const cases: [CommandRun, RegExp][] = [
      [run(source, 'backup', '--out', file('no/such/folder')), /--out: cannot write .*\(ENOENT\)/],
      [run(source, 'backup'), /required option '--out <file>'/],
      [run(target, 'restore', '--from', file('none')), /--from: cannot read .*\(ENOENT\)/],
      [run(target, 'restore', '--from', folder), /is a folder/],
      [run(target, 'restore'), /required option '--from <file>'/],
    ]
    for (const [command, text] of cases) {
      const { code, err } = await command.ended
      assert.match(err, text)
      assert.equal(code, 2)
    }
  })

  it('say that the disk is full, and leave a device a device', async () => {
    const { code, err } = await run(source, 'backup', '--out', '/dev/full', '--force').ended
    assert.equal(code, 1)
    assert.match(err, /writing the archive failed \(no space is left there\); there is no backup/)
    assert.ok((await stat('/dev/full')).isCharacterDevice())
  })

  it('leave no half file at Ctrl-C', async () => {
    const backup = await halfWay()
    backup.child.kill('SIGINT')
    assert.equal((await backup.ended).code, 130)
    assert.deepEqual(await readdir(folder), [])
  })

  it('leave what nobody takes for a backup when killed', async () => {
    const backup = await halfWay()
    backup.child.kill('SIGKILL')
    await backup.ended
    const names = await readdir(folder)
    assert.equal(names.length, 1)
    assert.match(names[0] ?? '', /^a\.backup\.part-[0-9a-f]{8}$/)
  })

  /** Its file is there and is not whole. */
  async function halfWay(): Promise<CommandRun> {
    const backup = runCommand(['backup', '--out', file('a.backup')], { env: { DATABASE_URL: source.url } })
    await waitUntil('a part is written', async () => {
      const [name] = await readdir(folder)
      if (!name?.startsWith('a.backup.part-')) return false
      backup.child.kill('SIGSTOP')
      return true
    })
    backup.child.kill('SIGCONT')
    return backup
  }

  it('end with 1 when whoever reads the archive goes away', async () => {
    const backup = runCommand(['backup', '--out', '-'], {
      env: { DATABASE_URL: source.url },
      stdout: 'given',
    })
    backup.child.stdout?.once('data', () => backup.child.stdout?.destroy())
    assert.equal((await backup.ended).code, 1)
  })

  it('refuse a used target and a damaged archive with 1, in one line', async () => {
    await run(source, 'backup', '--out', file('a.backup')).ended
    const used = await run(source, 'restore', '--from', file('a.backup')).ended
    assert.equal(used.code, 1)
    assert.match(used.err, /^firebreak: the database already holds \d+ tables .*\n$/)
    const bytes = await readFile(file('a.backup'))
    await writeFile(file('short'), bytes.subarray(0, bytes.length / 2))
    const damaged = await run(target, 'restore', '--from', file('short')).ended
    assert.equal(damaged.code, 1)
    assert.equal(damaged.err, 'firebreak: the archive is cut off\n')
    assert.deepEqual(await contents(target.db), {})
  })

  it('go on without a Kafka that does not answer, and warn', async () => {
    const { code, out, err } = await runCommand(['backup', '--out', file('a.backup')], {
      env: { DATABASE_URL: source.url, KAFKA_BROKERS: '127.0.0.1:1' },
    }).ended
    assert.equal(code, 0, err)
    assert.match(
      out.toString(),
      /^warning: Kafka's positions are not in it \(Kafka at 127\.0\.0\.1:1 does not answer/m,
    )
    const { code: restored, out: told } = await runCommand(['restore', '--from', file('a.backup')], {
      env: { DATABASE_URL: target.url, KAFKA_BROKERS: '127.0.0.1:1' },
    }).ended
    assert.equal(restored, 0)
    assert.match(told.toString(), /log rewind --from-backup/)
  })

  it('name the setting when there is no database', async () => {
    const { code, err } = await runCommand(['backup', '--out', file('a.backup')], {
      env: { DATA_DIR: path.join(folder, 'none') },
    }).ended
    assert.equal(code, 1)
    assert.match(err, /there is no embedded PostgreSQL in .*none: set DATA_DIR or DATABASE_URL/)
    assert.deepEqual(await readdir(folder), [])
  })

  it('name KAFKA_BROKERS when a log is to be rewound that the backup had positions of', async () => {
    const { archive } = await backUp(source.url, { logPositions: async () => [] })
    await writeFile(file('a.backup'), archive)
    await run(target, 'restore', '--from', file('a.backup')).ended
    const { code, err } = await run(target, 'log', 'rewind', '--from-backup').ended
    assert.equal(code, 1)
    assert.match(err, /has positions of a Kafka log: set KAFKA_BROKERS/)
  })

  it('explain a database that does not answer as serve does', async () => {
    const { code, err } = await runCommand(['backup', '--out', file('a.backup')], {
      env: { DATABASE_URL: 'postgres://x:y@127.0.0.1:1/none' },
    }).ended
    assert.equal(code, 1)
    assert.match(err, /^firebreak: DATABASE_URL: cannot use PostgreSQL at 127\.0\.0\.1:1 \(.*ECONNREFUSED/)
  })

  it('have nothing to rewind without Kafka, and take one of the two ways', async () => {
    const nothing = await run(target, 'log', 'rewind', '--from-backup').ended
    assert.equal(nothing.code, 0, nothing.err)
    assert.match(nothing.out.toString(), /^nothing to rewind: without KAFKA_BROKERS/)
    for (const words of [[], ['--to', '2h', '--from-backup'], ['--to', 'yesterday']]) {
      assert.equal((await run(target, 'log', 'rewind', ...words).ended).code, 2)
    }
  })
})
