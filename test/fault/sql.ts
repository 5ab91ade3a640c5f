import pg from 'pg'

/** One statement on a connection of its own, past everything that the hub does. */
export async function ask<T extends object>(
  url: string,
  text: string,
  values: readonly unknown[] = [],
): Promise<T[]> {
  const client = new pg.Client({ connectionString: url })
  client.on('error', () => {})
  await client.connect()
  try {
    return (await client.query<T>(text, [...values])).rows
  } finally {
    await client.end().catch(() => {})
  }
}
