/**
 * Executions run in this process, their logs kept in memory: a skill server.
 *
 * Streams are resumable while the process lives, and while their log is kept.
 */

import type { Decimal } from '../pricing.js';
import type { Skill } from '../skill.js';
import { Bars } from './bars.js';
import { bill, type Ending, NO_USAGE, type Terms } from './bill.js';
import { type Contract, contractOf } from './contracts.js';
import {
  budgetExceeded,
  executionNotFound,
  idempotencyMismatch,
  overloaded,
  shuttingDown,
  skillNotFound,
} from './errors.js';
import { comparePositions, cursorOf, isChosenId, type Position } from './ids.js';
import { report } from './journal.js';
import { type EndEvent, type ErrorEvent, Log, type Usage } from './log.js';
import type { ChunkEvent } from './output.js';
import { type Failed, type Outcome, Run } from './run.js';
import type { StartRequest } from './starts.js';

const CANCELLED: ErrorEvent = {
  event: 'error',
  code: 'cancelled',
  message: 'The execution was cancelled.',
  retryable: false,
};
const INTERNAL: ErrorEvent = {
  event: 'error',
  code: 'internal',
  message: 'The execution could not be run.',
  retryable: true,
};
const STOPPED: ErrorEvent = {
  event: 'error',
  code: 'worker_lost',
  message: 'The skill server was shut down.',
  retryable: true,
};
const FULL: Failed = {
  kind: 'failed',
  code: 'overloaded',
  message: 'The skill server ran out of memory.',
  retryable: true,
};

/** How much a skill server holds. */
export interface MemoryLimits {
  /** Executions that may run at the same time; more are refused. */
  readonly maxRunning: number;
  /** Finished executions that are kept, for readers that come back. */
  readonly maxKept: number;
  /** Memory for all logs together, in bytes, roughly; the oldest finished ones go first. */
  readonly maxBytes: number;
  /** How long a finished execution is kept, in s. */
  readonly retention: number;
}

/** What a skill server holds unless it is told otherwise. */
export const MEMORY_LIMITS: MemoryLimits = {
  maxRunning: 100,
  maxKept: 1000,
  maxBytes: 512 * 1024 * 1024,
  retention: 600,
};

/** Where a cursor stands in a log: events follow; nothing does, ever; or the log is shorter. */
export type Place = 'within' | 'after_end' | 'beyond';

/** A skill as the registry lists it; the names are those of the HTTP surface. */
export interface SkillInfo {
  readonly id: string;
  readonly name: string;
  readonly description: string;
  readonly streaming: boolean;
  readonly pricing: {
    readonly base_usd: Decimal;
    readonly per_token_usd: Decimal;
    readonly per_second_usd: Decimal;
  };
  readonly timeout: number;
  readonly queue_timeout: number;
  readonly idle_timeout: number;
  readonly max_output_bytes: number;
  readonly on_interrupt: 'fail';
  readonly input_schema?: Readonly<Record<string, unknown>>;
  readonly live: true;
}

interface Running {
  readonly log: Log;
  readonly run: Run;
  readonly ended: Promise<void>;
  cancelled: boolean;
}

/** Runs executions in this process. */
export class MemoryExecutions {
  readonly #skills = new Map<string, Skill>();
  /** By skill: of those that say what they take. */
  readonly #contracts = new Map<string, Contract>();
  readonly #limits: MemoryLimits;
  readonly #running = new Map<string, Running>();
  /** In the order of their ends. */
  readonly #finished = new Map<string, Log>();
  readonly #bars = new Bars();
  readonly #now: () => number;
  #size = 0;
  #stopping = false;

  /**
   * @param skills - What can be run.
   * @param limits - How much is held.
   * @param now - The monotonic clock, in ms.
   * @throws TypeError - A skill has no handler, or an `inputSchema` that is none; two have the same id.
   */
  constructor(
    skills: Iterable<Skill>,
    limits: MemoryLimits = MEMORY_LIMITS,
    now: () => number = () => performance.now(),
  ) {
    for (const skill of skills) {
      void skill.handler; // throws without one
      if (this.#skills.has(skill.id)) {
        throw new TypeError(`two skills have the id ${JSON.stringify(skill.id)}`);
      }
      this.#skills.set(skill.id, skill);
      if (skill.inputSchema !== null) {
        this.#contracts.set(skill.id, contractOf(skill.id, skill.inputSchema));
      }
    }
    this.#limits = limits;
    this.#now = now;
  }

  /** About how much memory all logs take, in bytes. */
  get size(): number {
    return this.#size;
  }

  /** Lists the skills, by id. */
  skills(): SkillInfo[] {
    return [...this.#skills.keys()].sort().map((id) => infoOf(this.#skills.get(id) as Skill));
  }

  /** Finds a skill. */
  skill(id: string): SkillInfo | undefined {
    const skill = this.#skills.get(id);
    return skill === undefined ? undefined : infoOf(skill);
  }

  /**
   * Starts an execution; it goes on when its client leaves, unless it asked for the contrary.
   *
   * @returns Its log, and whether it was started before, under the same key or id.
   * @throws ApiError - 503 `overloaded`, too many are running, or `draining`; 422
   *   `idempotency_mismatch`, `invalid_input` or `budget_exceeded`.
   */
  start(request: StartRequest): { readonly log: Log; readonly replayed: boolean } {
    if (this.#stopping) {
      throw shuttingDown();
    }
    const known = this.#known(request.executionId);
    if (known !== undefined) {
      if (known.fingerprint !== request.fingerprint) {
        throw idempotencyMismatch();
      }
      return { log: known, replayed: true };
    }
    const skill = this.#skills.get(request.skillId);
    if (skill === undefined) {
      throw skillNotFound();
    }
    refuseBudget(skill, request.options.maxCost);
    this.#contracts.get(skill.id)?.check(request.input);
    const barred = this.#bars.has(request.executionId);
    if (this.#running.size >= this.#limits.maxRunning && !barred) {
      throw overloaded(this.#limits.maxRunning);
    }
    const log = new Log(request.executionId, skill.id, request.fingerprint);
    this.#size += log.size;
    if (barred) {
      this.#end(log, CANCELLED, NO_USAGE);
    } else {
      this.#run(log, skill, request);
    }
    return { log, replayed: false };
  }

  #run(log: Log, skill: Skill, request: StartRequest): void {
    const { timeout = Infinity, cancelAfter, maxCost } = request.options;
    const bounds = { timeout: Math.min(skill.timeout, timeout), maxCost, now: this.#now };
    const { executionId } = log;
    const run = new Run(
      skill,
      { data: request.input, executionId },
      (chunks) => this.#publish(log, chunks),
      bounds,
    );
    const terms = { pricing: skill.pricing, maxCost, callersTimeout: timeout < skill.timeout };
    const ended = this.#execute(log, terms, run);
    const running: Running = { log, run, cancelled: false, ended };
    this.#running.set(executionId, running);
    if (cancelAfter !== undefined) {
      log.presence.require(cancelAfter, () => this.#cancel(running));
    }
  }

  async #execute(log: Log, terms: Terms, run: Run): Promise<void> {
    // The answer to the start goes out before the handler has the thread.
    await new Promise(setImmediate);
    const outcome = await run.start();
    const cancelled = this.#running.get(log.executionId)?.cancelled === true;
    this.#running.delete(log.executionId);
    let ending: EndEvent | ErrorEvent = INTERNAL;
    let usage = NO_USAGE;
    try {
      const bare = endingOf(outcome, cancelled);
      usage = bill(bare, run.used, terms);
      ending = bare.event === 'end' ? { ...bare, ...usage } : bare;
    } catch (error) {
      report(`machpay: execution ${log.executionId} could not be billed`, error);
    }
    this.#end(log, ending, usage);
  }

  #publish(log: Log, chunks: readonly ChunkEvent[]): Failed | undefined {
    for (const chunk of chunks) {
      this.#size += log.chunk(chunk);
    }
    log.wake();
    this.#forget();
    if (this.#size <= this.#limits.maxBytes) {
      return undefined;
    }
    report(`machpay: execution ${log.executionId}: all logs together are too large`);
    return FULL;
  }

  /**
   * Ends an execution with `error cancelled`, unless it has ended; in advance, if need be.
   *
   * @throws ApiError - 404 `execution_not_found`.
   */
  async cancel(executionId: string): Promise<void> {
    if (isChosenId(executionId) && this.#known(executionId) === undefined) {
      this.#bars.add(executionId);
      return;
    }
    this.find(executionId);
    const running = this.#running.get(executionId);
    if (running !== undefined) {
      this.#cancel(running);
      await running.ended;
    }
  }

  #cancel(running: Running): void {
    running.cancelled = true;
    running.run.stop();
  }

  /** Ends all running executions with an `error`: nobody could resume them elsewhere. */
  async stop(): Promise<void> {
    this.#stopping = true;
    const ends = [...this.#running.values()].map((running) => {
      running.run.stop();
      return running.ended;
    });
    await Promise.all(ends);
  }

  /**
   * Finds where a reader stands, and what it reads.
   *
   * @throws ApiError - 404 `execution_not_found`.
   */
  locate(executionId: string, after: Position): { readonly place: Place; readonly log: Log } {
    const log = this.find(executionId);
    const order = comparePositions(after, log.top);
    if (order > 0) {
      return { place: 'beyond', log };
    }
    return { place: order === 0 && log.end !== undefined ? 'after_end' : 'within', log };
  }

  /**
   * Finds a log.
   *
   * @throws ApiError - 404 `execution_not_found`.
   */
  find(executionId: string): Log {
    const log = this.#known(executionId);
    if (log === undefined) {
      throw executionNotFound();
    }
    return log;
  }

  #known(executionId: string): Log | undefined {
    this.#forget();
    return this.#running.get(executionId)?.log ?? this.#finished.get(executionId);
  }

  #end(log: Log, ending: EndEvent | ErrorEvent, usage: Usage): void {
    this.#size += log.finish(ending, usage);
    log.endedAt = this.#now();
    log.presence.release();
    this.#finished.set(log.executionId, log);
    log.wake();
    this.#forget();
  }

  /** Forgets finished executions, the oldest first, until all limits are kept. */
  #forget(): void {
    const { retention, maxKept, maxBytes } = this.#limits;
    const expired = this.#now() - retention * 1000;
    for (const [executionId, log] of this.#finished) {
      if (log.endedAt > expired && this.#finished.size <= maxKept && this.#size <= maxBytes) {
        return;
      }
      this.#size -= log.size;
      this.#finished.delete(executionId);
    }
  }
}

function refuseBudget(skill: Skill, maxCost: Decimal | undefined): void {
  const { baseUsd } = skill.pricing;
  if (maxCost !== undefined && maxCost.compare(baseUsd) < 0) {
    throw budgetExceeded(baseUsd, maxCost);
  }
}

/** Describes an execution as `GET /v1/executions/{id}` answers. */
export function describe(log: Log): Record<string, unknown> {
  const { end, usage } = log;
  return {
    execution_id: log.executionId,
    skill_id: log.skillId,
    status: statusOf(end),
    attempt: 1,
    text: log.entries.map((entry) => entry.text).join(''),
    cursor: cursorOf(log.executionId, log.top),
    created_at: log.createdAt,
    ...(usage !== undefined && {
      tokens_used: usage.tokensUsed,
      cost_usd: usage.costUsd,
      duration_ms: usage.durationMs,
    }),
    ...(end?.event === 'error' && { error: { code: end.code, message: end.message } }),
  };
}

function statusOf(end: EndEvent | ErrorEvent | undefined): string {
  if (end === undefined) {
    return 'running';
  }
  if (end.event === 'end') {
    return 'completed';
  }
  return end === CANCELLED ? 'cancelled' : 'failed';
}

function endingOf(outcome: Outcome, cancelled: boolean): Ending {
  if (outcome.kind === 'stopped') {
    return cancelled ? CANCELLED : STOPPED;
  }
  if (outcome.kind === 'failed') {
    const { code, message, retryable } = outcome;
    return { event: 'error', code, message, retryable };
  }
  return { event: 'end' };
}

function infoOf(skill: Skill): SkillInfo {
  const { baseUsd, perTokenUsd, perSecondUsd } = skill.pricing;
  return {
    id: skill.id,
    name: skill.name,
    description: skill.description,
    streaming: skill.streaming,
    pricing: { base_usd: baseUsd, per_token_usd: perTokenUsd, per_second_usd: perSecondUsd },
    timeout: skill.timeout,
    queue_timeout: skill.queueTimeout,
    idle_timeout: skill.idleTimeout,
    max_output_bytes: skill.maxOutputBytes,
    // What is lost here is lost: there is no other process that could go on.
    on_interrupt: 'fail',
    ...(skill.inputSchema === null ? {} : { input_schema: skill.inputSchema }),
    live: true,
  };
}
