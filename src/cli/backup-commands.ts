import type { Command } from 'commander'
import { openInput, openOutput } from './archive-file.js'
import type { Archived, BackedUp, Restored } from './backup-hooks.js'
import { type CliIo, WIPE_LINE } from './cli-io.js'
import { type Cli, examples } from './command.js'
import { renderFields } from './table.js'

const KEYS = {
  sealed:
    'sealed under FIREBREAK_MASTER_KEY, which is not in the archive: keep that key too, and somewhere else',
  plain:
    'in the archive, readable: who has the file can sign as this hub. Keep it like a private key, or set FIREBREAK_MASTER_KEY and back up again',
  none: 'none yet',
}
const DRAW_EVERY_MS = 200

/** backup, restore: the database as one file. Both work on the database itself. */
export function addBackupCommands(cli: Cli, program: Command): void {
  addBackup(cli, program)
  addRestore(cli, program)
}

function addBackup(cli: Cli, program: Command): void {
  const { hooks, io } = cli
  const backup = program
    .command('backup')
    .description('write the whole database, keys included, into one archive; hubs go on working meanwhile')
    .requiredOption('--out <file>', 'a new file, - for standard output')
    .option('--force', 'replace a file that is there')
    .option('--json', 'print the result as JSON')
  examples(backup, [
    'backup --out firebreak.backup',
    'backup --out - | age -r age1… > firebreak.backup.age',
  ]).action(async ({ out: file, force, json }: { out: string; force?: boolean; json?: boolean }) => {
    const signal = cli.interruptible()
    const output = await openOutput(io, file, { force })
    try {
      const done = await withMeter(io, 'backing up', (onProgress) =>
        hooks.backup({ out: output.out, signal, onProgress }),
      )
      await output.keep()
      // The archive itself is the answer on standard output.
      const print = file === '-' ? io.err : io.out
      print(json ? toJson({ file, ...backupBody(done) }) : backupText(file, done))
    } finally {
      await output.discard()
    }
  })
}

function addRestore(cli: Cli, program: Command): void {
  const { hooks, io } = cli
  const restore = program
    .command('restore')
    .description('fill the empty database of DATABASE_URL, or the embedded one, with an archive')
    .requiredOption('--from <file>', 'an archive of firebreak backup, - for standard input')
    .option('--json', 'print the result as JSON')
  examples(restore, [
    'restore --from firebreak.backup',
    'DATABASE_URL=postgres://… firebreak restore --from -',
  ]).action(async ({ from, json }: { from: string; json?: boolean }) => {
    const signal = cli.interruptible()
    const input = await openInput(io, from)
    const done = await withMeter(io, 'restoring', (onProgress) =>
      hooks.restore({ input, signal, onProgress }),
    )
    io.out(json ? toJson(restoreBody(done)) : restoreText(done))
  })
}

/** Draws on a terminal where the copy is, and wipes it after. */
async function withMeter<T>(
  io: CliIo,
  label: string,
  work: (onProgress: (at: { table: string; bytes: number }) => void) => Promise<T>,
): Promise<T> {
  let drawnAt = 0
  try {
    return await work(({ table, bytes }) => {
      if (!io.progress || Date.now() - drawnAt < DRAW_EVERY_MS) return
      drawnAt = Date.now()
      io.err(`${WIPE_LINE}${label} ${table}, ${sizeOf(bytes)}`)
    })
  } finally {
    if (drawnAt > 0) io.err(WIPE_LINE)
  }
}

function facts({ rows, bytes, manifest }: Archived) {
  return {
    made_at: manifest.made_at,
    hub_version: manifest.hub_version,
    schema: manifest.migrations.at(-1) ?? '',
    tables: manifest.tables.length,
    rows,
    bytes,
    keys: manifest.keys,
  }
}

const backupBody = (done: BackedUp) => ({
  ...facts(done),
  log_positions: done.manifest.log_positions !== null,
  warnings: done.warnings,
})

function backupText(file: string, done: BackedUp): string {
  const { made_at, schema, tables, rows, bytes, keys } = facts(done)
  const fields = {
    archive: file === '-' ? 'on standard output' : file,
    made_at,
    schema,
    content: `${rows} rows of ${tables} tables, ${sizeOf(bytes)} before compression`,
    keys: KEYS[keys],
    log:
      done.manifest.log_positions === null
        ? 'without positions in Kafka: right only for a hub without KAFKA_BROKERS'
        : 'with its positions in Kafka',
  }
  return `${renderFields(fields)}${warningsText(done)}`
}

const warningsText = ({ warnings }: { readonly warnings: readonly string[] }): string =>
  warnings.map((text) => `warning: ${text}\n`).join('')

function restoreBody(done: Restored) {
  const { into, migrated } = done
  return { ...facts(done), into, migrated, warnings: done.warnings, next: nextSteps(done) }
}

function restoreText(done: Restored): string {
  const { made_at, rows, tables, hub_version } = facts(done)
  const told = {
    restored: `${rows} rows of ${tables} tables`,
    made_at,
    by: `firebreak ${hub_version}`,
    into: done.into,
  }
  return `${renderFields(told)}${warningsText(done)}Next:\n${nextSteps(done)
    .map((text, index) => `  ${index + 1}. ${text}\n`)
    .join('')}`
}

/** What a copy from the past cannot know. */
function nextSteps({ manifest, usesKafka }: Restored): string[] {
  const rewinds = usesKafka || manifest.log_positions !== null
  const steps = [
    ...(manifest.keys === 'sealed'
      ? ['set FIREBREAK_MASTER_KEY to the key that the hub had when this was made']
      : []),
    'see that no process of the old hub runs any more',
    ...(rewinds ? ['firebreak log rewind --from-backup, before the first hub starts'] : []),
    'firebreak serve, reached by operators only until the next step is done',
    `do again what was done after ${manifest.made_at}: revoked operators, tokens and keys, disabled receivers, erasures (firebreak operator list, keys list)`,
    // Those that went around Kafka while it was away, and were not copied there yet, are in no topic.
    rewinds
      ? 'ask the sources to send again what they sent while Kafka was away; repeats do no harm'
      : 'ask the sources to send again what they sent since; repeats do no harm',
  ]
  return steps
}

const toJson = (body: object): string => `${JSON.stringify(body, null, 2)}\n`

function sizeOf(bytes: number): string {
  const mib = bytes / 1024 ** 2
  return mib < 1024 ? `${mib.toFixed(1)} MiB` : `${(mib / 1024).toFixed(1)} GiB`
}
