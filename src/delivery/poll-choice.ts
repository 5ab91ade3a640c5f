import { present } from '../kernel/present.js'
import { NOT_GRANTED, UNREADABLE_REASON } from './attempt-result.js'
import { createClosedRows } from './closed-rows.js'
import type { Minter } from './minter.js'
import type { EventContent } from './open-delivery.js'
import { oldestFirst, withinBytes, withoutOpposites } from './poll-answer.js'
import { inTurns } from './poll-selection.js'
import type { ClaimedDelivery } from './queue-repository.js'

export interface UnfitReason {
  readonly outcome: 'superseded' | 'discarded' | 'parked'
  readonly failure?: string
}

export interface UnfitRow {
  readonly row: ClaimedDelivery
  readonly reason: UnfitReason
}

export interface FitRow {
  readonly row: ClaimedDelivery
  readonly content: EventContent
}

export interface PollChoice {
  /** In the order of the answer. */
  readonly sets: readonly FitRow[]
  /** Those that were found so on the way: they are to be ended. */
  readonly unfit: readonly UnfitRow[]
  /** Fewer than were asked for and are there: an answer has its size, and some do not open for now. */
  readonly cutShort: boolean
  /** Why those do not. */
  readonly fault?: unknown
}

export interface PollChoiceDeps {
  /** Undefined: it will never open. */
  openContent(row: ClaimedDelivery): Promise<EventContent | undefined>
  readonly minter: Pick<Minter, 'refusalOf'>
}

/**
 * Which of these rows make an answer of `limit` SETs. Content is opened only of what goes out, and of what turns out unfit
 * in its turn: most rows of a backlog are read in many polls before.
 */
export async function chooseForPoll(
  { openContent, minter }: PollChoiceDeps,
  rows: readonly ClaimedDelivery[],
  limit: number,
): Promise<PollChoice> {
  const unfit: UnfitRow[] = []
  const fit = new Map<ClaimedDelivery, FitRow>()
  const closed = createClosedRows()
  let left = rows.filter((row) => {
    const reason = unfitUnopened(row)
    if (reason) unfit.push({ row, reason })
    return !reason
  })

  const open = (row: ClaimedDelivery): Promise<void> =>
    openContent(row).then(
      (content) => judge(row, content),
      (error: unknown) => closed.note(row.delivery, error),
    )

  function judge(row: ClaimedDelivery, content: EventContent | undefined): void {
    // Else this one row would be in the way of all the others, for ever.
    if (!content) return void unfit.push({ row, reason: { outcome: 'parked', failure: UNREADABLE_REASON } })
    const failure = minter.refusalOf(row.delivery, content)
    if (failure === undefined) fit.set(row, { row, content })
    else unfit.push({ row, reason: { outcome: 'discarded', failure } })
  }

  for (;;) {
    const next = inTurns(withoutOpposites(left)).slice(0, limit)
    const chosen = withinBytes(next)
    await Promise.all(chosen.filter((row) => !fit.has(row)).map(open))
    const bad = new Set(chosen.filter((row) => !fit.has(row)))
    if (bad.size === 0) {
      const sets = oldestFirst(chosen).flatMap((row) => fit.get(row) ?? [])
      const fault = closed.fault()
      return {
        sets,
        unfit,
        cutShort: chosen.length < next.length || fault !== undefined,
        ...present({ fault }),
      }
    }
    // What these kept out may get in.
    left = left.filter((row) => !bad.has(row) && !closed.isBehind(row.delivery))
  }
}

/** What can be said of a row without its event's content. */
function unfitUnopened({ superseded, granted }: ClaimedDelivery): UnfitReason | undefined {
  if (superseded) return { outcome: 'superseded' }
  if (!granted) return { outcome: 'discarded', failure: NOT_GRANTED }
  return undefined
}
