/** A doorbell: any number of rings before or during a wait wake it once. */
export interface Wake {
  ring(): void
  /** Resolves at the next ring, at once if one came since the last wait, or after `timeoutMs`. */
  wait(timeoutMs: number): Promise<void>
}

export function createWake(): Wake {
  let rung = false
  let release: (() => void) | undefined
  return {
    ring() {
      rung = true
      release?.()
    },
    wait(timeoutMs) {
      if (rung) {
        rung = false
        return Promise.resolve()
      }
      return new Promise((resolve) => {
        const done = () => {
          clearTimeout(timer)
          release = undefined
          rung = false
          resolve()
        }
        const timer = setTimeout(done, timeoutMs)
        release = done
      })
    },
  }
}
