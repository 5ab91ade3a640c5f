import assert from 'node:assert/strict'
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { type ModuleImport, parseModule, readSourceModules, roomOf } from './support/module-imports.js'
import { filesBelow, ROOT, readText, trackedFiles } from './support/source-files.js'

const KERNEL = [
  'clock',
  'crashpoint',
  'errors',
  'group-commit',
  'ids',
  'issuer-url',
  'logger',
  'metrics',
  'periodic-worker',
  'present',
  'wake',
  'worker',
]

/** Rooms that each room may import beside kernel. A room that is not here may not exist. */
const MAY_IMPORT: Readonly<Record<string, readonly string[]>> = {
  kernel: [],
  config: [],
  secevent: [],
  storage: [],
  outgoing: [],
  http: [],
  keys: ['storage', 'secevent', 'http'],
  audit: ['storage', 'secevent', 'http'],
  auth: ['storage', 'secevent', 'http'],
  eventlog: ['secevent', 'storage', 'keys'],
  backup: ['storage'],
  ...Object.fromEntries(
    ['ingest', 'upstream', 'streams', 'delivery', 'enforcement', 'alerts'].map((room) => [
      room,
      ['secevent', 'config', 'storage', 'outgoing', 'http', 'keys', 'audit', 'auth', 'eventlog'],
    ]),
  ),
  cli: ['demo'],
  demo: [],
}
/** The one way from feature room to feature room, and only for types, services and words that import nothing. */
const ACROSS: Readonly<Record<string, readonly string[]>> = {
  delivery: ['streams'],
  upstream: ['ingest'],
}
const FEATURE_ROOMS = ['ingest', 'upstream', 'streams', 'delivery', 'enforcement', 'alerts']
/** Pure: the types of a stream and the shard that follows from its id. It imports no room, which is checked. */
const WORDS = ['src/streams/stream.ts']

/** One door per library: where it may be imported for more than its types. */
const DOORS: Readonly<Record<string, RegExp>> = {
  express: /^src\/(http\/.*|.*-router)\.ts$/,
  knex: /^src\/storage\//,
  pg: /^src\/storage\//,
  kafkajs: /^src\/eventlog\/kafka-/,
  jose: /^src\/(secevent|demo)\//,
  'oidc-provider': /^src\/auth\//,
  undici: /^src\/outgoing\//,
  'ipaddr.js': /^src\/outgoing\//,
  winston: /^src\/kernel\//,
  'prom-client': /^src\/kernel\//,
  zod: /^src\/config\//,
  commander: /^src\/cli\//,
  ajv: /^src\/(http\/validate\.ts|secevent\/)/,
  'ajv-formats': /^src\/(http\/validate\.ts|secevent\/)/,
  'lru-cache': /^src\/(auth|delivery|secevent)\//,
}

/** Tables that more than one file writes: a row moves between these in one statement, or a chain is kept by turns. */
const SHARED_TABLES: Readonly<Record<string, readonly string[]>> = {
  delivery_queue: ['queue', 'held-order', 'result', 'parked'].map(
    (name) => `src/delivery/${name}-repository.ts`,
  ),
  deliveries: ['result', 'parked'].map((name) => `src/delivery/${name}-repository.ts`),
  parked: ['result', 'parked'].map((name) => `src/delivery/${name}-repository.ts`),
  audit_log: ['log', 'sealer', 'trim'].map((name) => `src/audit/audit-${name}.ts`),
  latency_dirty_hours: ['acknowledgement', 'latency-histogram'].map(
    (name) => `src/enforcement/${name}-repository.ts`,
  ),
  hub_processes: ['src/storage/lease-repository.ts', 'src/storage/partitions.ts'],
}

const MAX_LINES = 400
const modules = readSourceModules()
const imports = modules.flatMap((module) => module.imports)
const rooms = [...new Set(modules.flatMap(({ room }) => room ?? []))].sort()
const show = ({ from, to }: ModuleImport): string => `${from} imports ${to}`
const between = imports.filter(
  ({ from, to, isPackage }) => !isPackage && roomOf(from) !== undefined && roomOf(from) !== roomOf(to),
)

describe('the architecture', () => {
  it('has a stated list of rooms, and kernel is a closed one', () => {
    assert.deepEqual(
      rooms.filter((room) => !(room in MAY_IMPORT)),
      [],
    )
    assert.deepEqual(
      filesBelow('src/kernel', '.ts'),
      KERNEL.map((name) => `src/kernel/${name}.ts`),
    )
  })

  it('lets a room import only the rooms it may know', () => {
    const allowed = ({ from, to }: ModuleImport): boolean => {
      const [room, other] = [roomOf(from) as string, roomOf(to)]
      if (other === undefined) return false
      const known = [...(MAY_IMPORT[room] ?? []), ...(ACROSS[room] ?? [])]
      return known.includes(other) || (other === 'kernel' && room !== 'demo')
    }
    assert.deepEqual(between.filter((each) => !allowed(each)).map(show), [])
  })

  it('passes only types and services between feature rooms', () => {
    const across = between.filter(
      ({ from, to }) =>
        FEATURE_ROOMS.includes(roomOf(from) as string) && FEATURE_ROOMS.includes(roomOf(to) ?? ''),
    )
    const allowed = ({ to, isTypeOnly }: ModuleImport): boolean =>
      isTypeOnly || to.endsWith('-service.ts') || WORDS.includes(to)
    assert.deepEqual(across.filter((each) => !allowed(each)).map(show), [])
    assert.deepEqual(imports.filter(({ from }) => WORDS.includes(from)).map(show), [])
  })

  it('has no cycle of imports between rooms', () => {
    const next = (room: string): string[] => [
      ...new Set(between.filter(({ from }) => roomOf(from) === room).flatMap(({ to }) => roomOf(to) ?? [])),
    ]
    const findCycle = (path: string[]): string[] | undefined => {
      const room = path.at(-1) as string
      if (path.indexOf(room) < path.length - 1) return path
      for (const other of next(room)) {
        const cycle = findCycle([...path, other])
        if (cycle) return cycle
      }
      return undefined
    }
    for (const room of rooms) assert.equal(findCycle([room])?.join(' → '), undefined)
  })

  it('opens one door to each library', () => {
    const outside = imports.filter(
      ({ from, to, isPackage, isTypeOnly }) =>
        isPackage && !isTypeOnly && roomOf(from) !== undefined && !DOORS[to]?.test(from),
    )
    assert.deepEqual(outside.map(show), [])
    const { dependencies } = JSON.parse(readText('package.json')) as { dependencies: Record<string, string> }
    assert.deepEqual(Object.keys(dependencies).sort(), Object.keys(DOORS).sort())
  })

  it('keeps the demo a stranger: nothing of src outside its folder', () => {
    const outside = imports.filter(
      ({ from, to, isPackage }) => roomOf(from) === 'demo' && !isPackage && roomOf(to) !== 'demo',
    )
    assert.deepEqual(outside.map(show), [])
  })

  it('reads the environment in config alone; main only passes it on', () => {
    const readers = modules.filter(({ file, text }) => {
      const code = text.replace(/^\s*(\*|\/\/|\/\*).*$/gm, '')
      if (file === 'src/main.ts') return /process\.env[.[]/.test(code)
      return roomOf(file) !== 'config' && /process\.env|\benv\b.*from 'node:process'/.test(code)
    })
    assert.deepEqual(
      readers.map(({ file }) => file),
      [],
    )
  })

  it('has no catch-all folder and no barrel file', () => {
    const isCatchAll = (file: string): boolean =>
      /(^|\/)(utils?|helpers?|common|admin|shared|lib)\//.test(file)
    assert.deepEqual(filesBelow('src').filter(isCatchAll), [])
    const barrels = modules.filter(({ file, isBarrel }) => isBarrel || file.endsWith('/index.ts'))
    assert.deepEqual(
      barrels.map(({ file }) => file),
      [],
    )
  })

  it(`keeps source files at ${MAX_LINES} lines at most`, () => {
    const long = modules.filter(({ text }) => text.split('\n').length - 1 > MAX_LINES)
    assert.deepEqual(
      long.map(({ file }) => file),
      [],
    )
  })

  it('lets one file write a table, and a read model write none', () => {
    const writers = new Map<string, Set<string>>()
    const tables = tableNames()
    for (const { file, text } of modules) {
      for (const table of tables.filter((name) => writes(text, name))) {
        assert.ok(!file.endsWith('-read-model.ts'), `${file} writes ${table}`)
        writers.set(table, (writers.get(table) ?? new Set()).add(file))
      }
    }
    const allowed = (table: string, by: Set<string>) =>
      [...by].every((file) => SHARED_TABLES[table]?.includes(file))
    const shared = [...writers].filter(([table, by]) => by.size > 1 && !allowed(table, by))
    assert.deepEqual(
      shared.map(([table, by]) => `${table} is written by ${[...by].join(' and ')}`),
      [],
    )
    for (const table of ['event_log', 'streams', 'receivers', 'audit_log'])
      assert.ok(writers.has(table), table)
  })

  it('tells types from what remains after compilation', () => {
    const { imports: found } = parseModule(
      'src/a/b.ts',
      "import type { A } from '../c/d.js'\nimport { type E } from 'pg'\nimport f, { type G } from '@x/y/z'\nexport { h } from './i.js'\n",
    )
    assert.deepEqual(
      found.map(({ to, isTypeOnly }) => [to, isTypeOnly]),
      [
        ['src/c/d.ts', true],
        ['pg', true],
        ['@x/y', false],
        ['src/a/i.ts', false],
      ],
    )
  })
})

describe('the repository', () => {
  it('has a README of at most 15 lines in every room', () => {
    const faults = rooms.flatMap((room) => {
      const file = `src/${room}/README.md`
      if (!existsSync(join(ROOT, file))) return [`${file} is missing`]
      const lines = readText(file).trimEnd().split('\n').length
      return lines > 15 ? [`${file} has ${lines} lines`] : []
    })
    assert.deepEqual(faults, [])
  })

  it('names no folder of one machine and no registry', () => {
    // Written so that this file does not find itself.
    const machinePath = /(^|[^\w.~-])\/(work|root|home|Users)\/\w/
    const found = trackedFiles().filter(
      (file) => existsSync(join(ROOT, file)) && machinePath.test(readText(file)),
    )
    assert.deepEqual(found, [])
    assert.doesNotMatch(readText('package-lock.json'), /"resolved"/)
  })
})

function tableNames(): string[] {
  const text = filesBelow('migrations', '.js').map(readText).join('\n')
  const named = text.matchAll(/create table (?:if not exists )?([a-z_]+)|createTable\('([a-z_]+)'/gi)
  return [...new Set([...named].map((match) => (match[1] ?? match[2]) as string))]
}

/** In raw SQL, or by knex: a statement on the table that inserts, updates or deletes. */
function writes(text: string, table: string): boolean {
  const raw = new RegExp(
    String.raw`\b(insert into|delete from|truncate|update)\s+${table}\b(?!\s+(set|skip)\s*$)`,
    'i',
  )
  const byKnex = new RegExp(String.raw`\('${table}'\)(\s*\.\w+\([^)]*\))*?\s*\.(insert|update|delete|del)\(`)
  return raw.test(text) || byKnex.test(text)
}
