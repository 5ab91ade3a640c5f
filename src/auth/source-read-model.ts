import { type Database, sqlRows } from '../storage/database.js'

/**
 * Reads `transmitters`, which the room ingest writes.
 * @returns the id of each that is known, under the id or name that was given
 */
export async function findSourceIds(
  db: Database,
  idsOrNames: readonly string[],
): Promise<ReadonlyMap<string, string>> {
  const rows = await sqlRows<{ id: string; name: string }>(
    db,
    'select id, name from transmitters where id::text = any(?::text[]) or name = any(?::text[])',
    [[...idsOrNames], [...idsOrNames]],
  )
  return new Map(rows.flatMap(({ id, name }) => [[id, id] as const, [name, id] as const]))
}
