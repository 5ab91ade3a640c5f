import { type Database, sqlRows } from '../storage/database.js'
import { createStreamRepository } from './stream-repository.js'
import { createSubjectRepository } from './subject-repository.js'

/** Forgets removed subjects whose grace is over (SSF 1.0 §9.3), of streams that have only what was added. */
export async function forgetRemovedSubjects(db: Database, graceS: number): Promise<void> {
  const streams = await sqlRows<{ stream_id: string }>(
    db,
    `select s.stream_id from streams s join receivers r on r.id = s.receiver_id
     where r.default_subjects = 'NONE' and exists (select 1 from stream_subjects x where x.stream_id = s.stream_id
       and x.mode = 'removed' and x.changed_at <= now() - make_interval(secs => ?))`,
    [graceS],
  )
  for (const { stream_id: streamId } of streams) {
    for (let freed = -1; freed < 0; ) freed = await forgetPage(db, streamId, graceS)
  }
}

async function forgetPage(db: Database, streamId: string, graceS: number): Promise<number> {
  return await db.transaction(async (trx) => {
    const stream = createStreamRepository(trx)
    if (!(await stream.lockAny(streamId))) return 0
    const freed = await createSubjectRepository(trx).deleteRetired(streamId, graceS)
    if (freed < 0) await stream.saveSubjectCount(streamId, freed)
    return freed
  })
}
