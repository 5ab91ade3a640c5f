type Handler = (settings: never) => unknown

export interface Command {
  readonly id: number
  readonly command: string
  readonly settings: unknown
}

export interface CommandAnswer {
  readonly id: number
  readonly value?: unknown
  readonly error?: string
}

/** The child's side: answers each command of the parent, and ends with it. Ctrl-C is the parent's to handle. */
export function serveCommands(handlers: Readonly<Record<string, Handler>>): void {
  process.on('SIGINT', () => {})
  process.on('disconnect', () => process.exit(0))
  process.on('message', ({ id, command, settings }: Command) => {
    void Promise.resolve()
      .then(() => {
        const handler = handlers[command]
        if (!handler) throw new Error(`no command ${command}`)
        return handler(settings as never)
      })
      .then(
        (value): CommandAnswer => ({ id, value }),
        (error: unknown): CommandAnswer => ({
          id,
          error: error instanceof Error ? (error.stack ?? error.message) : String(error),
        }),
      )
      .then((answer) => process.send?.(answer))
  })
}
