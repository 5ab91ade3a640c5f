import { type Database, sqlRows } from '../storage/database.js'

/** TLS of one stream as stored: PEM texts, but for the key. */
export interface StreamTlsRecord {
  readonly streamId: string
  /** Scheme, host and port that it is for. */
  readonly origin: string
  readonly ca: string | undefined
  readonly client: SealedClientCertificate | undefined
  readonly updatedAt: Date
}

export interface SealedClientCertificate {
  readonly certificate: string
  readonly endsAt: Date
  /** Sealed under `tlsKeyContext(streamId)`. */
  readonly keySealed: Buffer
}

interface StreamTlsRow {
  stream_id: string
  origin: string
  ca: string | null
  certificate: string | null
  certificate_ends_at: Date | null
  key_wrapped: Buffer | null
  updated_at: Date
}

/** Sole writer of `stream_tls`. Takes a pool or a transaction. */
export function createStreamTlsRepository(db: Database) {
  return {
    async find(streamId: string): Promise<StreamTlsRecord | undefined> {
      const [row] = await sqlRows<StreamTlsRow>(db, 'select * from stream_tls where stream_id = ?', [
        streamId,
      ])
      return row && toRecord(row)
    },

    async put({
      streamId,
      origin,
      ca,
      client,
    }: Omit<StreamTlsRecord, 'updatedAt'>): Promise<StreamTlsRecord> {
      const [row] = await sqlRows<StreamTlsRow>(
        db,
        `insert into stream_tls (stream_id, origin, ca, certificate, certificate_ends_at, key_wrapped)
         values (?, ?, ?, ?, ?, ?)
         on conflict (stream_id) do update set origin = excluded.origin, ca = excluded.ca,
           certificate = excluded.certificate, certificate_ends_at = excluded.certificate_ends_at,
           key_wrapped = excluded.key_wrapped, updated_at = clock_timestamp()
         returning *`,
        [
          streamId,
          origin,
          ca ?? null,
          client?.certificate ?? null,
          client?.endsAt ?? null,
          client?.keySealed ?? null,
        ],
      )
      return toRecord(row as StreamTlsRow)
    },

    /** @returns whether there was one */
    async delete(streamId: string): Promise<boolean> {
      const rows = await sqlRows(db, 'delete from stream_tls where stream_id = ? returning stream_id', [
        streamId,
      ])
      return rows.length > 0
    },
  }
}

function toRecord(row: StreamTlsRow): StreamTlsRecord {
  const { certificate, certificate_ends_at: endsAt, key_wrapped: keySealed } = row
  return {
    streamId: row.stream_id,
    origin: row.origin,
    ca: row.ca ?? undefined,
    client: certificate && endsAt && keySealed ? { certificate, endsAt, keySealed } : undefined,
    updatedAt: row.updated_at,
  }
}
