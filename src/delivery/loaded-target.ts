import { describeError } from '../kernel/errors.js'
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
  /** @param isNews it did not fail so before */
  onFault(error: unknown, isNews: boolean): void
  /** The first load that did not fail after some that did. */
  onMended(): void
}): LoadedTarget {
  let target: StreamTarget | undefined
  let generation = 0
  let loading = false
  let gone = false
  /** Text of the fault that has been told. */
  let fault: string | undefined

  async function load(startedIn: number): Promise<void> {
    loading = true
    gone = false
    try {
      const loaded = await deps.load()
      if (startedIn !== generation) return
      loading = false
      if (fault !== undefined) deps.onMended()
      fault = undefined
      target = loaded
      gone = !loaded
      deps.onLoaded(loaded)
    } catch (error) {
      if (startedIn !== generation) return
      loading = false
      const text = describeError(error)
      const isNews = text !== fault
      fault = text
      deps.onFault(error, isNews)
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
