import { type ApiSection, closed, pageOf, TEXT, TIME, TIME_OR_NULL, UUID } from '../http/api-description.js'
import { PAGE_QUERY } from '../http/page.js'
import { NEW_OPERATOR, OPERATOR_CHANGE } from './operator-router.js'
import { type Permission, ROLES } from './roles.js'

const MEMBERS = {
  id: UUID,
  name: TEXT,
  role: { enum: ROLES },
  created_at: TIME,
  expires_at: TIME_OR_NULL,
  revoked_at: TIME_OR_NULL,
}
const OPERATOR = closed(MEMBERS, { title: 'Operator' })
const OPERATOR_WITH_TOKEN = closed({ ...MEMBERS, token: TEXT }, { title: 'OperatorWithToken' })

const access = { permission: 'operators.manage' satisfies Permission }

/** Told of `operatorRouter`. */
export const OPERATOR_API: ApiSection = {
  name: 'Operators',
  description: 'People and programs that run the hub.',
  routes: [
    {
      id: 'listOperators',
      method: 'get',
      path: '/v1/operators',
      summary: 'Operators by name',
      access,
      query: PAGE_QUERY,
      answers: { 200: { description: 'A page of operators.', schema: pageOf(OPERATOR) } },
    },
    {
      id: 'createOperator',
      method: 'post',
      path: '/v1/operators',
      summary: 'Add an operator',
      access,
      body: NEW_OPERATOR,
      answers: {
        201: { description: 'The operator; the token is shown once.', schema: OPERATOR_WITH_TOKEN },
      },
      errors: { 409: ['ERR_CONFLICT'] },
    },
    {
      id: 'getOperator',
      method: 'get',
      path: '/v1/operators/{id}',
      summary: 'One operator',
      access,
      answers: { 200: { description: 'The operator.', schema: OPERATOR } },
    },
    {
      id: 'updateOperator',
      method: 'patch',
      path: '/v1/operators/{id}',
      summary: 'Change an operator; what is absent stays',
      access,
      body: OPERATOR_CHANGE,
      answers: { 200: { description: 'The operator.', schema: OPERATOR } },
      errors: { 409: ['ERR_CONFLICT'] },
    },
    {
      id: 'revokeOperator',
      method: 'delete',
      path: '/v1/operators/{id}',
      summary: 'End an operator and its token for good',
      access,
      answers: { 204: { description: 'It is revoked.' } },
      errors: { 409: ['ERR_CONFLICT'] },
    },
    {
      id: 'rotateOperator',
      method: 'post',
      path: '/v1/operators/{id}/rotate',
      summary: 'Give an operator a new token; the old one ends',
      access,
      answers: {
        200: { description: 'The operator; the token is shown once.', schema: OPERATOR_WITH_TOKEN },
      },
      errors: { 409: ['ERR_CONFLICT'] },
    },
  ],
}
