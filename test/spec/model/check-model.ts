import fc from 'fast-check'
import { drain, type ModelWorld, type RealTransmitter, transmitterCommands } from './transmitter-commands.js'
import { createTransmitterModel, type ModelReceiver } from './transmitter-model.js'

/** A transmitter with the receivers of one run, and the way to be rid of them. */
export interface ModelRun {
  readonly real: RealTransmitter
  forget(): Promise<void>
}

/** Does the same to a transmitter and to the model of one, command by command, and then polls all that is left. */
export async function checkAgainstModel(
  openRun: () => Promise<ModelRun>,
  options: {
    readonly types: readonly string[]
    readonly receivers: readonly ModelReceiver[]
    readonly numRuns: number
    /** Reached by shrinking only. */
    readonly timeLimitMs: number
  },
): Promise<void> {
  const { types, receivers, numRuns, timeLimitMs } = options
  const seed = Date.now()
  console.log(`      seed ${seed}`)
  const commands = fc.commands(transmitterCommands(types, receivers.length), {
    maxCommands: 60,
    size: '+1',
  })
  await fc.assert(
    fc.asyncProperty(commands, async (list) => {
      const { real, forget } = await openRun()
      const world: ModelWorld = {
        model: createTransmitterModel(),
        run: { receivers, streams: [], states: 0 },
      }
      try {
        await fc.asyncModelRun(() => ({ model: world, real }), list)
        await drain(world, real)
      } finally {
        await forget()
      }
    }),
    { seed, numRuns, interruptAfterTimeLimit: timeLimitMs },
  )
}
