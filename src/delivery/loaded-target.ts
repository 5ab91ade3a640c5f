import type { StreamTarget } from './stream-target-repository.js'

/** What is known of where a stream's SETs go. */
export interface LoadedTarget {
  /** Undefined while nothing is known; `ensure` then loads it. */
  get(): StreamTarget | undefined
  /** The last load found none, and no other has begun since. */
  isGone(): boolean
  /** Starts loading when nothing is known and no load is under way. */
  ensure(): void
  /** A load that is under way is of the state before: its answer is dropped. */
  forget(): void
}

export function createLoadedTarget(deps: {
  load(): Promise<StreamTarget | undefined>
  /** Undefined: the stream is gone, or is not pushed to any more. */
  onLoaded(target: StreamTarget | undefined): void
  onFault(): void
}): LoadedTarget {
  let target: StreamTarget | undefined
  let generation = 0
  let loading = false
  let gone = false

  async function load(startedIn: number): Promise<void> {
    loading = true
    gone = false
    try {
      const loaded = await deps.load()
      if (startedIn !== generation) return
      loading = false
      target = loaded
      gone = !loaded
      deps.onLoaded(loaded)
    } catch {
      if (startedIn !== generation) return
      loading = false
      deps.onFault()
    }
  }

  return {
    get: () => target,
    isGone: () => gone,
    ensure() {
      if (!target && !loading) void load(generation)
    },
    forget() {
      generation += 1
      loading = false
      gone = false
      target = undefined
    },
  }
}
