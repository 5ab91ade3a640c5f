import type { Row } from './row.js'
import { CRASH_ROWS } from './rows/crash.js'
import { POSTGRES_ROWS } from './rows/postgres.js'

/** All faults, in the order of the report. */
export const ROWS: readonly Row[] = [...CRASH_ROWS, ...POSTGRES_ROWS]
