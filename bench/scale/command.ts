import { fileURLToPath } from 'node:url'
import type { Tools } from '../kit.js'
import { writeMarked } from '../report.js'
import { parseScaleOptions, SCALE_HELP } from './options.js'
import { renderScale, renderScaleNotes, renderStatements } from './report.js'
import { runScale } from './run.js'

// dist/bench/scale/command.js → docs/scale.md.
const DOCUMENT = fileURLToPath(new URL('../../../docs/scale.md', import.meta.url))

/** `npm run bench -- scale`. @throws OptionError */
export async function runScaleCommand(args: readonly string[], tools: Tools): Promise<void> {
  const options = parseScaleOptions(args)
  if (!options) {
    process.stdout.write(SCALE_HELP)
    return
  }
  const result = await runScale(options, tools)
  const table = `${renderScale(result)}\n\n${renderScaleNotes(result)}`
  process.stdout.write(options.json ? `${JSON.stringify(result, undefined, 2)}\n` : `${table}\n`)
  if (options.detail) process.stderr.write(`\n${renderStatements(result.stages)}\n`)
  if (options.document) writeMarked(DOCUMENT, table)
}
