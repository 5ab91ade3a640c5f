import { mkdirSync } from 'node:fs'
import { availableParallelism } from 'node:os'
import { resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { openKit, type Tools, withCleanups } from '../kit.js'
import { writeMarked } from '../report.js'
import { measureBacklog } from './backlog.js'
import { measureBurst } from './burst.js'
import { type Finding, isKept, renderFindings } from './finding.js'
import { measureHistory } from './history.js'
import { type MeasureName, PROMISES_HELP, parsePromisesOptions } from './options.js'
import { measurePolls } from './polls.js'
import type { PromiseContext } from './scene.js'
import { measureSoak } from './soak.js'
import { measureStall } from './stall.js'

// dist/bench/promises/command.js → docs/promises.md.
const DOCUMENT = fileURLToPath(new URL('../../../docs/promises.md', import.meta.url))

const MEASURES: Readonly<Record<MeasureName, (context: PromiseContext) => Promise<Finding[]>>> = {
  burst: measureBurst,
  stall: measureStall,
  backlog: measureBacklog,
  polls: measurePolls,
  history: measureHistory,
  soak: measureSoak,
}

/** `npm run bench -- promises`. @throws OptionError */
export async function runPromisesCommand(args: readonly string[], { signal, say }: Tools): Promise<void> {
  const options = parsePromisesOptions(args)
  if (!options) {
    process.stdout.write(PROMISES_HELP)
    return
  }
  if (options.profileFolder !== undefined) mkdirSync(resolve(options.profileFolder), { recursive: true })
  const findings: Finding[] = []
  for (const name of options.only) {
    say(`${name}: starting`)
    const found = await withCleanups(signal, (cleanups) =>
      MEASURES[name]({
        kit: openKit(signal, cleanups),
        cleanups,
        signal,
        quick: options.quick,
        ...(options.profileFolder === undefined ? {} : { profileFolder: resolve(options.profileFolder) }),
        say: (text) => say(`${name}: ${text}`),
      }),
    )
    findings.push(...found)
  }
  const note = `- \`npm run bench -- promises\`: ${availableParallelism()} cores that senders, hub, PostgreSQL and receivers share; Node ${process.versions.node}; PostgreSQL log.`
  const table = `${renderFindings(findings)}\n\n${note}`
  const asJson = findings.map((finding) => ({ ...finding, kept: isKept(finding) }))
  process.stdout.write(options.json ? `${JSON.stringify(asJson, undefined, 2)}\n` : `${table}\n`)
  if (options.document) writeMarked(DOCUMENT, table)
}
