import { ROOMS } from './rooms.mjs'

const room = process.env.MUTATION_ROOM
if (!(room in ROOMS)) throw new Error(`MUTATION_ROOM: one of ${Object.keys(ROOMS).join(', ')}`)

export default {
  testRunner: 'mocha',
  plugins: ['@stryker-mutator/mocha-runner'],
  coverageAnalysis: 'perTest',
  buildCommand: 'npx tsc -p tsconfig.json',
  mutate: ROOMS[room].mutate,
  mochaOptions: {
    require: ['./dist/test/support/answer-hooks.js', './test/mutation/credit-hooks.mjs'],
    spec: ROOMS[room].spec.map((tests) => `dist/${tests}.test.js`),
  },
  ignorePatterns: ['.cache', 'dist', '.firebreak'],
  tempDirName: `.cache/mutation/${room}`,
  incremental: true,
  incrementalFile: `.cache/mutation/${room}.results.json`,
  ignoreStatic: !ROOMS[room].tables,
  timeoutMS: 6_000,
  concurrency: Number(process.env.MUTATION_WORKERS ?? 2),
  reporters: ['progress-append-only', 'json', 'html'],
  jsonReporter: { fileName: `.cache/mutation/${room}.json` },
  htmlReporter: { fileName: `.cache/mutation/${room}.html` },
}
