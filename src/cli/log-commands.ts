import type { Command } from 'commander'
import type { Rewound } from './backup-hooks.js'
import { WrongUse } from './cli-errors.js'
import { withProgress } from './cli-io.js'
import { type Cli, examples } from './command.js'
import { type Column, renderTable } from './table.js'
import { parsePast } from './time-option.js'

const COLUMNS: Column<Rewound['lanes'][number]>[] = [
  { title: 'LANE', value: (row) => row.lane },
  { title: 'RECORDS TO READ AGAIN', value: (row) => row.records },
]

/** The event log, after its database went back in time. */
export function addLogCommands({ hooks, io }: Cli, program: Command): void {
  const rewind = program
    .command('log')
    .description('the event log')
    .command('rewind')
    .description('after a restore, have a Kafka log read again from then on; stop every hub first')
    .option('--to <time>', 'from this time on: 2h, or a time', parsePast)
    .option('--from-backup', 'from where the backup was that this database was restored from')
    .option('--json', 'print the result as JSON')
  examples(rewind, ['log rewind --from-backup', 'log rewind --to 2026-01-31T10:00:00Z']).action(
    async ({ to, fromBackup, json }: { to?: string; fromBackup?: boolean; json?: boolean }) => {
      if ((to === undefined) === (fromBackup === undefined))
        throw new WrongUse('give one of --to and --from-backup')
      const asked = to === undefined ? ({ fromBackup: true } as const) : { to }
      const done = await withProgress(io, 'rewinding', hooks.rewindLog(asked))
      io.out(json ? `${JSON.stringify(done, null, 2)}\n` : describe(done))
    },
  )
}

function describe({ log, target, lanes }: Rewound): string {
  if (log === 'postgres') {
    return 'nothing to rewind: without KAFKA_BROKERS the log is a queue in the database, and what was open in it is open again\n'
  }
  const back =
    target && 'to' in target ? `to ${target.to}` : `to the positions of the backup of ${target?.positions_of}`
  const lost = lanes
    .filter(({ skipped }) => skipped > 0)
    .map(({ lane, skipped }) => `${skipped} of lane ${lane}`)
  const warning =
    lost.length === 0
      ? ''
      : `warning: records from after the backup are out of reach, past the topic's retention or DEDUPE_WINDOW_DAYS: ${lost.join(', ')}. Ask the sources to send again\n`
  return `rewound ${back}\n${renderTable(COLUMNS, lanes)}${warning}Events that the database knows are dropped as repeats.\n`
}
