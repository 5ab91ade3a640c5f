/** What waits in one lane of a stream, in the order in which it gets its turn. */
export interface Turns<T> {
  add(sourceId: string, txn: string, entry: T): void
  /** Takes out one that was added so. */
  remove(sourceId: string, txn: string, entry: T): void
  /** Goes round until an entry may go, and takes it out. Undefined: none of those looked at may; a next call looks on. */
  next(mayGo: (entry: T) => boolean): Turn<T> | undefined
  /** Whether anything of this cause waits. */
  holds(sourceId: string, txn: string): boolean
  /** Takes everything out. */
  clear(): T[]
}

export interface Turn<T> {
  readonly sourceId: string
  readonly txn: string
  readonly entry: T
}

interface Cause<T> {
  readonly txn: string
  readonly entries: T[]
}

interface Source<T> {
  readonly sourceId: string
  readonly causes: Cause<T>[]
  readonly byTxn: Map<string, Cause<T>>
}

/** How far to look past entries of one source that may not go; of another source it begins anew. */
const LOOKS_PER_SOURCE = 1_024
/** Its causes share them, so that what may not go in one hides no other. */
const LOOKS_PER_CAUSE = { least: 16, most: 256 }

/**
 * Round by source, in a source round by cause, in a cause first come first sent. By source first: a source chooses what
 * it calls a cause, and could else take as many turns as it likes.
 */
export function createTurns<T>(): Turns<T> {
  let sources: Source<T>[] = []
  const byId = new Map<string, Source<T>>()

  function find(sourceId: string, txn: string): { source: Source<T>; cause: Cause<T> } | undefined {
    const source = byId.get(sourceId)
    const cause = source?.byTxn.get(txn)
    return source && cause && { source, cause }
  }

  function takeOut(source: Source<T>, cause: Cause<T>, index: number): void {
    cause.entries.splice(index, 1)
    if (cause.entries.length > 0) return
    source.byTxn.delete(cause.txn)
    source.causes.splice(source.causes.lastIndexOf(cause), 1)
    if (source.causes.length > 0) return
    byId.delete(source.sourceId)
    sources.splice(sources.lastIndexOf(source), 1)
  }

  function nextOf(source: Source<T>, mayGo: (entry: T) => boolean): Turn<T> | undefined {
    const { least, most } = LOOKS_PER_CAUSE
    const share = Math.floor(LOOKS_PER_SOURCE / source.causes.length)
    const perCause = Math.min(most, Math.max(least, share))
    let looks = LOOKS_PER_SOURCE
    for (let rest = source.causes.length; rest > 0 && looks > 0; rest -= 1) {
      const cause = rotate(source.causes)
      for (const [index, entry] of cause.entries.entries()) {
        if (index === perCause) break
        looks -= 1
        if (!mayGo(entry)) continue
        takeOut(source, cause, index)
        return { sourceId: source.sourceId, txn: cause.txn, entry }
      }
    }
    return undefined
  }

  return {
    add(sourceId, txn, entry) {
      let source = byId.get(sourceId)
      if (!source) {
        source = { sourceId, causes: [], byTxn: new Map() }
        byId.set(sourceId, source)
        sources.push(source)
      }
      let cause = source.byTxn.get(txn)
      if (!cause) {
        cause = { txn, entries: [] }
        source.byTxn.set(txn, cause)
        source.causes.push(cause)
      }
      cause.entries.push(entry)
    },

    remove(sourceId, txn, entry) {
      const found = find(sourceId, txn)
      const index = found ? found.cause.entries.indexOf(entry) : -1
      if (found && index >= 0) takeOut(found.source, found.cause, index)
    },

    next(mayGo) {
      for (let unseen = sources.length; unseen > 0; unseen -= 1) {
        const turn = nextOf(rotate(sources), mayGo)
        if (turn) return turn
      }
      return undefined
    },

    holds: (sourceId, txn) => find(sourceId, txn) !== undefined,

    clear() {
      const all = sources.flatMap(({ causes }) => causes.flatMap(({ entries }) => entries))
      sources = []
      byId.clear()
      return all
    },
  }
}

/** The first goes to the end of a ring that is not empty. */
function rotate<E>(ring: E[]): E {
  const first = ring.shift() as E
  ring.push(first)
  return first
}
