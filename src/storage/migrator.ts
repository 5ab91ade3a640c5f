import { fileURLToPath } from 'node:url'
import type { Database } from './database.js'

/** Beside `dist` in the package; this file runs as dist/src/storage/migrator.js. */
export const MIGRATIONS_DIR = fileURLToPath(new URL('../../../migrations', import.meta.url))

/** Brings the schema up to date. */
export async function migrate(db: Database): Promise<{ applied: string[] }> {
  const [, applied] = (await db.migrate.latest({
    directory: MIGRATIONS_DIR,
    tableName: 'schema_migrations',
    loadExtensions: ['.js'],
  })) as [number, string[]]
  return { applied }
}
