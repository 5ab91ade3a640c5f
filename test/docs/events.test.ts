import assert from 'node:assert/strict'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { EVENT_TYPES, type EventTypeInfo } from '../../src/secevent/event-types.js'
import { ROOT, readText } from '../support/source-files.js'

const FILE = 'docs/events.md'
const HEADINGS = {
  CAEP: 'CAEP 1.0',
  RISC: 'RISC 1.0',
  SCIM: 'SCIM, RFC 9967',
  SSF: 'SSF 1.0, said by the hub about its own streams',
} as const

/** The effect of a type in words: `tightens`, or `LOW loosens, HIGH tightens, else neutral (current_level)`. */
function describeEffect({ effect }: EventTypeInfo): string {
  if (typeof effect === 'string') return effect
  if ('scimState' in effect)
    return '`active` false tightens, true loosens, named in a notice tightens, else neutral'
  const values = Object.entries(effect.values).map(([value, does]) => `${value} ${does}`)
  return `${values.join(', ')}, else ${effect.otherwise} (${effect.member})`
}

function laneText({ lane, effect }: EventTypeInfo): string {
  if (lane) return lane
  if (effect === 'tightens') return 'urgent'
  return typeof effect === 'string' ? 'routine' : 'urgent when it tightens, else routine'
}

function renderTables(): string {
  const sections = Object.entries(HEADINGS).map(([family, heading]) => {
    const types = [...EVENT_TYPES.values()].filter((info) => info.family === family)
    const first = types[0] as EventTypeInfo
    const rows = types.map(
      (info) => `| \`${info.name}\` | ${describeEffect(info)} | ${laneText(info)} | ${info.why} |`,
    )
    return [
      `## ${heading}`,
      '',
      `\`${first.type.slice(0, -first.name.length)}…\``,
      '',
      '| Type | Effect | Lane | Why |',
      '|---|---|---|---|',
      ...rows,
    ].join('\n')
  })
  return `${sections.join('\n\n')}\n`
}

// After a change of the table: UPDATE_DOCS=1 npx mocha --spec dist/test/docs/events.test.js
describe('docs/events.md', () => {
  it('is what the hub does with each event type', () => {
    const text = readText(FILE)
    const intro = text.slice(0, text.indexOf(`## ${HEADINGS.CAEP}`))
    if (process.env.UPDATE_DOCS === '1') writeFileSync(join(ROOT, FILE), `${intro}${renderTables()}`)
    else assert.equal(text, `${intro}${renderTables()}`)
  })
})
