import { readFileSync } from 'node:fs'
import { performance } from 'node:perf_hooks'

// Loaded into a hub by --import: the clock of its machine is wrong by what a file says, which may change meanwhile.
// Timers go on as they are, as when a person sets the clock.
const file = process.env.CLOCK_SHIFT_FILE ?? ''
const LOOK_MS = 20

let wallMs = 0
let monotonicMs = 0

function look(): void {
  try {
    const [wall, monotonic] = readFileSync(file, 'utf8').split(' ').map(Number)
    wallMs = wall ?? wallMs
    monotonicMs = monotonic ?? monotonicMs
  } catch {
    // Not written yet, or half.
  }
}

const trueDate = Date
const trueMonotonicMs = performance.now.bind(performance)

globalThis.Date = new Proxy(trueDate, {
  construct: (target, values: readonly unknown[], asked) =>
    Reflect.construct(target, values.length === 0 ? [target.now() + wallMs] : [...values], asked) as Date,
  get: (target, name) =>
    name === 'now' ? () => target.now() + wallMs : (Reflect.get(target, name) as unknown),
})
performance.now = () => trueMonotonicMs() + monotonicMs

look()
setInterval(look, LOOK_MS).unref()
