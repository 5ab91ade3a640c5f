import { createTestDatabase } from '../support/postgres.js'
import { describeTwoProcesses } from './two-processes.suite.js'

describeTwoProcesses('Postgres log', async () => {
  const database = await createTestDatabase()
  return { env: { DATABASE_URL: database.url }, close: () => database.close() }
})
