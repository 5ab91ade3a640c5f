/**
 * Moments between two steps of which a crash may leave the first done and the second not. The fault suite makes a hub
 * end there, as by SIGKILL: nothing is flushed, no handler runs.
 */
export const CRASHPOINTS = [
  /** A SET is read and verified, and not yet in the event log. */
  'ingest.verified',
  /** A SET is in the event log, and not yet answered 202. */
  'ingest.stored',
  /** A batch of the event log is in hand, and nothing of it in the database. */
  'fanout.read',
  /** A batch is committed, and not handed to the sender; with Kafka its position is not committed. */
  'fanout.committed',
  /** Kafka has the copies, and their rows are not yet removed. */
  'relay.copied',
  /** A SET is signed, and not yet on its way to the endpoint. */
  'push.sending',
  /** An endpoint has answered, and its answer is not yet written. */
  'push.answered',
  /** A poll is answered, and nothing of it acknowledged. */
  'poll.answered',
  /** A migration has run, and its transaction is not committed. */
  'migration.applied',
] as const

export type Crashpoint = (typeof CRASHPOINTS)[number]

let armed: { name: string; passesLeft: number } | undefined

/** `name:n`, the n-th pass counted from 1. Undefined when it is not of that form, or there is no such point. */
export function readCrashpoint(text: string): { name: string; pass: number } | undefined {
  const [, name = '', pass] = /^([a-z.]+):([1-9]\d{0,8})$/.exec(text) ?? []
  return CRASHPOINTS.some((known) => known === name) ? { name, pass: Number(pass) } : undefined
}

/** The process ends at this pass of this point. Only a setting for tests calls this. */
export function armCrashpoint({ name, pass }: { name: string; pass: number }): void {
  armed = { name, passesLeft: pass }
}

/** Costs one comparison with undefined while nothing is armed. */
export function crashpoint(name: Crashpoint): void {
  if (armed === undefined || armed.name !== name) return
  armed.passesLeft -= 1
  if (armed.passesLeft === 0) process.kill(process.pid, 'SIGKILL')
}
