import type { Response } from 'express'

/** Runs a query that may take seconds for the caller of a request, within that caller's bounds. */
export type QueryRunner = <T>(res: Response, query: () => Promise<T>) => Promise<T>

/** Without bounds. */
export const runAtOnce: QueryRunner = (_res, query) => query()
