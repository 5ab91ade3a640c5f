import { runDemo } from '../../src/demo/run-demo.js'

// `node demo-process.js <hub entry>`: the demo as a process of its own, to be killed.
await runDemo({
  hubEntry: process.argv[2] ?? '',
  environment: { PATH: process.env.PATH },
  signal: new AbortController().signal,
  step: (label, work) => {
    process.stdout.write(`${label}\n`)
    return work()
  },
  note: () => {},
})
