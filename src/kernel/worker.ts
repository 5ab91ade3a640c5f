export interface Health {
  ok: boolean
  /** Why not, or what a person should know though it is ok. */
  reason?: string
}

/** Something that runs until told to stop. `stop` finishes what is in flight and then resolves. */
export interface Worker {
  readonly name: string
  start(): Promise<void>
  stop(): Promise<void>
  health(): Health
}
