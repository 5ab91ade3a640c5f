// Queues grow and shrink by the second: the default thresholds, a fifth of the table, would let dead rows and stale
// statistics pile up between two visits of autovacuum. Compatible with the version before.
const QUEUES = ['event_log', 'delivery_queue']

export async function up(knex) {
  for (const table of QUEUES) {
    await knex.raw(`alter table ${table} set (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000,
      autovacuum_vacuum_insert_threshold = -1, autovacuum_analyze_scale_factor = 0,
      autovacuum_analyze_threshold = 5000, autovacuum_vacuum_cost_delay = 0)`)
  }
}

export async function down(knex) {
  for (const table of QUEUES) {
    await knex.raw(`alter table ${table} reset (autovacuum_vacuum_scale_factor, autovacuum_vacuum_threshold,
      autovacuum_vacuum_insert_threshold, autovacuum_analyze_scale_factor, autovacuum_analyze_threshold,
      autovacuum_vacuum_cost_delay)`)
  }
}
