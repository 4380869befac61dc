/** What the client returns beside streams. Unknown members are ignored: a newer server may add some. */

import { streamError } from './errors.js';
import type { Summary } from './events.js';
import { hasType, type JsonObject, nullable, optional, record, records } from './json.js';
import { checkedExecutionId } from './position.js';

/** A completed execution. */
export interface Result {
  /** The whole output. */
  readonly text: string;
  /** What it used and what it cost. */
  readonly summary: Summary;
  /** The execution. */
  readonly executionId: string;
}

/** An execution that was started in the background. */
export interface Started {
  /** Its id: `client.executions.stream(executionId)` reads it. */
  readonly executionId: string;
  /** What it runs. */
  readonly skillId: string;
  /**
   * A stream token that reads it, for a browser: for as long as it may run, and an hour more. `null`
   * where the server makes none.
   */
  readonly streamToken: string | null;
}

/** A stream token: what a browser gets instead of an API key. */
export interface StreamToken {
  /** The token, for `?token=` or `new MachPay({ apiKey })`. */
  readonly token: string;
  /**
   * When it ends, in ms since the epoch: it reads, or starts, until then. What it started it reads for
   * longer.
   */
  readonly expiresAt: number;
  /** The execution that it reads, if it is for one. */
  readonly executionId: string | null;
  /** The skill that it starts, if it is for one. */
  readonly skillId: string | null;
  /** How many executions it starts. */
  readonly maxStarts: number | null;
  /** The longest that each of them may run, in s, if that was asked for. */
  readonly timeout: number | null;
  /** The most that each of them may cost, in USD, if that was asked for. */
  readonly maxCostUsd: number | null;
}

/** A skill's price, in USD. */
export interface SkillPricing {
  /** Once per execution. */
  readonly baseUsd: number;
  /** Per output token. */
  readonly perTokenUsd: number;
  /** Per second from the claim by a worker to the end. */
  readonly perSecondUsd: number;
}

/** A skill as the server lists it. */
export interface SkillInfo {
  /** What it is run by. */
  readonly id: string;
  /** For people. */
  readonly name: string;
  /** For people. */
  readonly description: string;
  /** Whether output arrives in pieces. */
  readonly streaming: boolean;
  /** Its price. */
  readonly pricing: SkillPricing;
  /** The longest an execution may run, in s; `null` when the server does not say. */
  readonly timeout: number | null;
  /** What it takes, as a JSON Schema (2020-12) of an object; `null` when it takes any. */
  readonly inputSchema: Readonly<Record<string, unknown>> | null;
  /** Whether a worker that has it was seen lately. */
  readonly live: boolean;
}

/** Where an execution is. A newer server may know more words. */
export type ExecutionStatus =
  | 'queued'
  | 'running'
  | 'completed'
  | 'failed'
  | 'cancelled'
  | (string & {});

/** Why an execution failed: what its `error` event says. */
export interface ExecutionError {
  /** A stable snake_case word. */
  readonly code: string;
  /** One sentence for people. */
  readonly message: string;
}

/** An execution as it stands. */
export interface Execution {
  /** Its id. */
  readonly executionId: string;
  /** What it runs. */
  readonly skillId: string;
  /** Where it is. */
  readonly status: ExecutionStatus;
  /** The attempt that runs or ran last; 0 before the first. */
  readonly attempt: number;
  /** All text so far, of the attempt that counts. */
  readonly text: string;
  /** Where `text` ends: `client.executions.stream(executionId, { cursor })` goes on from there. */
  readonly cursor: string | null;
  /** When it was started, in ms since the epoch. */
  readonly createdAt: number | null;
  /** Output tokens, once it has ended, however that was. */
  readonly tokensUsed: number | null;
  /** What is paid in USD, once it has ended: 0 when nothing is. */
  readonly costUsd: number | null;
  /** From the claim by a worker to the end in ms, once it has ended. */
  readonly durationMs: number | null;
  /** Why it failed, if it did. */
  readonly error: ExecutionError | null;
}

/** What executions used and cost, summed. */
export interface UsageSum {
  /** How many they were. */
  readonly executions: number;
  /** Output tokens. */
  readonly tokensUsed: number;
  /** The cost, in USD. */
  readonly costUsd: number;
  /** From the claim by a worker to the end, in ms. */
  readonly durationMs: number;
}

/** The sum of one day, or of one skill. */
export interface UsageGroup extends UsageSum {
  /** The day (`YYYY-MM-DD`, UTC), or the skill's id. */
  readonly key: string;
}

/** What an account used over some days. */
export interface UsageReport {
  /** The first day, `YYYY-MM-DD`, UTC. */
  readonly from: string;
  /** The last day. */
  readonly to: string;
  /** The sum over all of them. */
  readonly total: UsageSum;
  /** By day or skill, as asked for; else empty. */
  readonly groups: readonly UsageGroup[];
}

/** Decode the list of skills. */
export function readSkills({ skills }: JsonObject): SkillInfo[] {
  return records(skills, "'skills'").map(readSkill);
}

/** Decode a skill. */
export function readSkill(body: JsonObject): SkillInfo {
  const { pricing = {}, input_schema: schema = null } = body;
  return {
    id: hasType(body, 'id', 'string'),
    name: optional(body, 'name', 'string', ''),
    description: optional(body, 'description', 'string', ''),
    streaming: optional(body, 'streaming', 'boolean', true),
    pricing: readPricing(record(pricing, "'pricing'")),
    timeout: nullable(body, 'timeout', 'number'),
    inputSchema: schema === null ? null : record(schema, "'input_schema'"),
    live: optional(body, 'live', 'boolean', true),
  };
}

function readPricing(body: JsonObject): SkillPricing {
  return {
    baseUsd: optional(body, 'base_usd', 'number', 0),
    perTokenUsd: optional(body, 'per_token_usd', 'number', 0),
    perSecondUsd: optional(body, 'per_second_usd', 'number', 0),
  };
}

/** Decode an execution. */
export function readExecution(body: JsonObject): Execution {
  const { error = null } = body;
  return {
    executionId: hasType(body, 'execution_id', 'string'),
    skillId: optional(body, 'skill_id', 'string', ''),
    status: hasType(body, 'status', 'string'),
    attempt: optional(body, 'attempt', 'integer', 0),
    text: optional(body, 'text', 'string', ''),
    cursor: nullable(body, 'cursor', 'string'),
    createdAt: nullable(body, 'created_at', 'integer'),
    tokensUsed: nullable(body, 'tokens_used', 'integer'),
    costUsd: nullable(body, 'cost_usd', 'number'),
    durationMs: nullable(body, 'duration_ms', 'integer'),
    error: error === null ? null : readExecutionError(record(error, "'error'")),
  };
}

function readExecutionError(body: JsonObject): ExecutionError {
  return { code: hasType(body, 'code', 'string'), message: hasType(body, 'message', 'string') };
}

/** Decode the answer to a start in the background. */
export function readStarted(body: JsonObject): Started {
  const executionId = checkedExecutionId(hasType(body, 'execution_id', 'string'));
  return {
    executionId,
    skillId: optional(body, 'skill_id', 'string', ''),
    streamToken: nullable(body, 'stream_token', 'string'),
  };
}

/** Decode a stream token. */
export function readToken(body: JsonObject): StreamToken {
  return {
    token: hasType(body, 'token', 'string'),
    expiresAt: hasType(body, 'expires_at', 'integer'),
    executionId: nullable(body, 'execution_id', 'string'),
    skillId: nullable(body, 'skill_id', 'string'),
    maxStarts: nullable(body, 'max_starts', 'integer'),
    timeout: nullable(body, 'timeout', 'number'),
    maxCostUsd: nullable(body, 'max_cost_usd', 'number'),
  };
}

/** Decode a report of usage. */
export function readUsage(body: JsonObject): UsageReport {
  const { total, groups } = body;
  return {
    from: hasType(body, 'from', 'string'),
    to: hasType(body, 'to', 'string'),
    total: readSum(record(total, "'total'")),
    groups: records(groups, "'groups'").map((group) => ({
      key: hasType(group, 'key', 'string'),
      ...readSum(group),
    })),
  };
}

function readSum(body: JsonObject): UsageSum {
  return {
    executions: hasType(body, 'executions', 'integer'),
    tokensUsed: hasType(body, 'tokens_used', 'integer'),
    costUsd: hasType(body, 'cost_usd', 'number'),
    durationMs: hasType(body, 'duration_ms', 'integer'),
  };
}

/**
 * Make what decodes the body of an answer. It throws the `StreamError` `bad_response`.
 *
 * @param read - Reads the JSON object.
 */
export function answer<T>(read: (body: JsonObject) => T): (body: Uint8Array) => T {
  return (body) => {
    try {
      return read(record(JSON.parse(new TextDecoder().decode(body)), 'the answer'));
    } catch (cause) {
      const message = `the answer cannot be decoded: ${String(cause)}`;
      throw streamError('bad_response', message, { cause });
    }
  };
}
