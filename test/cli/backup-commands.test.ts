import assert from 'node:assert/strict'
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { PassThrough } from 'node:stream'
import { OutputFailed } from '../../src/backup/backup-errors.js'
import type { BackedUp, Restored } from '../../src/cli/backup-hooks.js'
import type { CliIo } from '../../src/cli/cli-io.js'
import { runCli } from '../../src/cli/run-cli.js'
import { failingHooks, runWords } from './run-words.js'

const MANIFEST: Restored['manifest'] = {
  made_at: '2026-01-31T10:00:00.000Z',
  hub_version: '0.1.0',
  migrations: ['a.js', 'b.js'],
  tables: [{}, {}],
  keys: 'sealed',
  log_positions: null,
}
const BACKED_UP: BackedUp = { rows: 3, bytes: 5 * 1024 ** 2, manifest: MANIFEST, warnings: [] }
const RESTORED: Restored = {
  ...BACKED_UP,
  migrated: ['c.js'],
  into: 'PostgreSQL at db.example.com',
  usesKafka: false,
  warnings: [],
}

describe('the commands backup, restore and log rewind', () => {
  let folder: string
  beforeEach(async () => {
    folder = await mkdtemp(path.join(tmpdir(), 'firebreak-cli-'))
  })
  afterEach(async () => rm(folder, { recursive: true }))

  const file = () => path.join(folder, 'a.backup')
  const writing: () => Partial<ReturnType<typeof failingHooks>> = () => ({
    async backup({ out }) {
      await new Promise<void>((resolve) => out.end('archive', resolve))
      return BACKED_UP
    },
  })

  it('says what was written, and where the key is that opens it', async () => {
    const { code, out } = await runWords(['backup', '--out', file()], { hooks: writing() })
    assert.equal(code, 0)
    assert.match(out, /^archive +.*a\.backup\nmade_at +2026-01-31T10:00:00\.000Z\nschema +b\.js\n/)
    assert.match(out, /content +3 rows of 2 tables, 5\.0 MiB before compression/)
    assert.match(out, /keys +sealed under FIREBREAK_MASTER_KEY, which is not in the archive/)
    assert.equal(await readFile(file(), 'utf8'), 'archive')
  })

  it('prints a warning with the summary, and both as JSON', async () => {
    const hooks = { backup: async () => ({ ...BACKED_UP, warnings: ['no positions'] }) }
    assert.match((await runWords(['backup', '--out', file()], { hooks })).out, /^warning: no positions$/m)
    const { out } = await runWords(['backup', '--out', file(), '--force', '--json'], { hooks })
    assert.deepEqual(JSON.parse(out), {
      file: file(),
      made_at: MANIFEST.made_at,
      hub_version: '0.1.0',
      schema: 'b.js',
      tables: 2,
      rows: 3,
      bytes: 5 * 1024 ** 2,
      keys: 'sealed',
      log_positions: false,
      warnings: ['no positions'],
    })
  })

  it('leaves nothing behind when writing fails', async () => {
    const hooks = {
      backup: async () => {
        throw new OutputFailed('writing the archive failed (no space is left there); there is no backup')
      },
    }
    const { code, err } = await runWords(['backup', '--out', file()], { hooks })
    assert.equal(code, 1)
    assert.match(err, /failed \(no space is left there\); there is no backup/)
    assert.deepEqual(await readdir(folder), [])
  })

  it('does not replace a file that came while it wrote', async () => {
    const hooks = {
      backup: async () => {
        await writeFile(file(), 'of another')
        return BACKED_UP
      },
    }
    const { code } = await runWords(['backup', '--out', file()], { hooks })
    assert.equal(code, 2)
    assert.equal(await readFile(file(), 'utf8'), 'of another')
    assert.deepEqual(await readdir(folder), ['a.backup'])
  })

  it('neither prints an archive on a terminal nor waits for one to be typed', async () => {
    const terminal = Object.assign(new PassThrough(), { isTTY: true })
    let err = ''
    const io: CliIo = {
      stdin: terminal,
      stdout: terminal,
      out: () => assert.fail('nothing is to be printed'),
      err: (text) => {
        err += text
      },
      colour: false,
      progress: false,
    }
    for (const words of [
      ['backup', '--out', '-'],
      ['restore', '--from', '-'],
    ]) {
      assert.equal(await runCli(['node', 'firebreak', ...words], failingHooks(), io), 2)
    }
    assert.match(err, /an archive is not for a terminal[\s\S]*does not come from a terminal/)
  })

  it('tells what to do after a restore: master key, Kafka, what was done since', async () => {
    const { out } = await runWords(['restore', '--from', '-'], { hooks: { restore: async () => RESTORED } })
    assert.match(out, /into +PostgreSQL at db\.example\.com\nNext:\n {2}1\. set FIREBREAK_MASTER_KEY/)
    assert.match(out, /do again what was done after 2026-01-31T10:00:00\.000Z: revoked operators/)
    assert.match(out, /ask the sources to send again/)
    assert.doesNotMatch(out, /log rewind/)
    const withKafka = { ...RESTORED, manifest: { ...MANIFEST, keys: 'plain', log_positions: [] } } as const
    const other = await runWords(['restore', '--from', '-', '--json'], {
      hooks: { restore: async () => withKafka },
    })
    const { next, migrated } = JSON.parse(other.out) as { next: string[]; migrated: string[] }
    assert.deepEqual(migrated, ['c.js'])
    assert.match(next[0] ?? '', /no process of the old hub/)
    assert.match(next[1] ?? '', /log rewind --from-backup, before the first hub starts/)
    assert.ok(next.some((step) => /ask the sources to send again what they sent while Kafka/.test(step)))
  })

  it('says how many records of each lane will be read again', async () => {
    const asked: object[] = []
    const rewindLog = async (request: object) => {
      asked.push(request)
      return {
        log: 'kafka' as const,
        target: { positions_of: '2026-01-31T10:00:00.000Z' },
        lanes: [{ lane: 'urgent', records: 7, skipped: 12 }],
      }
    }
    const { code, out } = await runWords(['log', 'rewind', '--from-backup'], { hooks: { rewindLog } })
    assert.equal(code, 0)
    assert.match(
      out,
      /^rewound to the positions of the backup of 2026-01-31T10:00:00\.000Z\nLANE .*\nurgent +7\nwarning: records .* DEDUPE_WINDOW_DAYS: 12 of lane urgent\. Ask the sources/,
    )
    await runWords(['log', 'rewind', '--to', '2026-01-31T10:00:00+01:00'], { hooks: { rewindLog } })
    assert.deepEqual(asked, [{ fromBackup: true }, { to: '2026-01-31T09:00:00.000Z' }])
  })
})
