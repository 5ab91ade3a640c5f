import { type EventLog, type LogLag, LogUnavailable } from './event-log.js'

/**
 * For decisions that rest on nothing being left out.
 * @throws LogUnavailable while a part of it is not known
 */
export async function readWholeLag(log: Pick<EventLog, 'lag'>): Promise<LogLag[]> {
  const lags = await log.lag()
  if (lags.some(({ isPartial }) => isPartial)) {
    throw new LogUnavailable('Kafka has not told yet what waits in it; try again.')
  }
  return lags
}
