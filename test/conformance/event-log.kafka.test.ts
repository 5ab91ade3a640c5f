import { describeConformance, describeEventLog } from './event-log.suite.js'
import { failoverRig, kafkaRig, postgresRig } from './event-log-rigs.js'

describeEventLog('Postgres', postgresRig)
describeEventLog('Kafka', kafkaRig)
describeEventLog('Kafka with failover to Postgres', failoverRig)
describeConformance()
