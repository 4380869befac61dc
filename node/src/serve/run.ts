/** Run a skill's handler to its end: what it yields becomes chunks, how it ends an outcome. */

import type { Decimal } from '../pricing.js';
import { type Skill, SkillError, SkillInput, Usage } from '../skill.js';
import { Budget } from './budget.js';
import type { Count } from './count.js';
import { report } from './journal.js';
import { BadOutput, type ChunkEvent, Outputs } from './output.js';
import { BadCount } from './tokens.js';
import { wellFormed } from './wire.js';

/** Codes that say what the platform did: a handler can't claim them for itself. */
export const PLATFORM_CODES: ReadonlySet<string> = new Set([
  'budget_exceeded',
  'cancelled',
  'idle_timeout',
  'internal',
  'interrupted',
  'log_lost',
  'nondeterministic',
  'output_limit',
  'overloaded',
  'queue_timeout',
  'skill_error',
  'timeout',
  'worker_lost',
]);

/** How long stopping waits for the handler to clean up, in ms. */
const GRACE = 100;

/** A handler that is always ahead gives others their turn after so many outputs, or so many ms. */
const AT_A_STRETCH = 64;
const STRETCH_MS = 2;

/** A timer's longest delay, in ms: more of it wraps around. */
const LONGEST_DELAY = 2 ** 31 - 1;

const MAX_MESSAGE = 4096;
const CODE = /^[a-z0-9_]{1,64}$/;

/** The handler ran to its end. */
export interface Completed {
  readonly kind: 'completed';
  /** Output tokens, as reported or estimated. */
  readonly tokens: number;
}

/** The handler failed, or was stopped for breaking a limit. */
export interface Failed {
  readonly kind: 'failed';
  /** A limit's code, `skill_error`, or that of the handler's own `SkillError`. */
  readonly code: string;
  /** One sentence that may go to the client. */
  readonly message: string;
  /** The same input may well succeed later. */
  readonly retryable: boolean;
}

/** How a run ended; `stopped` when it was told to. */
export type Outcome = Completed | Failed | { readonly kind: 'stopped' };

/** Takes chunks, in order, all of them; a failure ends the run with them. */
export type Publish = (chunks: readonly ChunkEvent[]) => Failed | undefined;

/** What a handler's input is made of. */
export interface Call {
  readonly data: Record<string, unknown>;
  readonly executionId: string;
}

/** What a run may take. */
export interface Bounds {
  /** The longest it may take, in s. */
  readonly timeout: number;
  /** It is ended before it costs more, in USD. */
  readonly maxCost?: Decimal | undefined;
  /** The monotonic clock that time is billed by, in ms. */
  readonly now?: () => number;
}

/** What was used: delivered, and billed if the end says so. */
export interface Used {
  /** How many chunks were published. */
  readonly chunks: number;
  /** Output tokens as of the last of them, or as in the report that broke the budget. */
  readonly tokens: number;
  /** From the call of the handler to the end, in ms. */
  readonly ms: number;
}

type AnyIterator = Iterator<unknown> | AsyncIterator<unknown>;

/** One call of a handler. Nothing that the handler does is ever thrown from here. */
export class Run {
  readonly #skill: Skill;
  readonly #input: SkillInput;
  readonly #abort = new AbortController();
  readonly #publish: Publish;
  readonly #bounds: Bounds;
  readonly #budget: Budget;
  readonly #outputs: Outputs;
  #deadline = Infinity;
  #ms = 0;
  #chunks = 0;
  /** The count with the last chunk: all that counts, unless the run sets {@link #tokens}. */
  #delivered: Count | null = null;
  /** What it came to where it completed, or where a report broke the budget. */
  #tokens: number | null = null;
  readonly #outcome = deferred<Outcome>();
  readonly #driven = deferred<void>();
  #iterator: AnyIterator | null = null;
  #timer: NodeJS.Timeout | undefined;
  /** When the timer looks, at the latest. */
  #looksAt = Infinity;
  #since = 0;
  #over = false;

  /**
   * @param skill - It must have a handler.
   * @param call - What the handler is called with.
   * @param publish - Called for what the handler yields.
   * @param bounds - What the run may take.
   */
  constructor(skill: Skill, { data, executionId }: Call, publish: Publish, bounds: Bounds) {
    this.#skill = skill;
    this.#input = new SkillInput(data, { executionId, signal: this.#abort.signal });
    this.#publish = publish;
    this.#bounds = bounds;
    const { maxCost, now = () => performance.now() } = bounds;
    this.#budget = new Budget(skill.pricing, maxCost, now);
    this.#outputs = new Outputs(skill.streaming, skill.maxOutputBytes, skill.tokenizer);
  }

  /** What it used, once it has ended. */
  get used(): Used {
    return { chunks: this.#chunks, tokens: this.#tokens ?? this.#ofDelivered(), ms: this.#ms };
  }

  #ofDelivered(): number {
    try {
      return this.#delivered?.tokens() ?? 0;
    } catch (error) {
      // Only where it was stopped: else the run failed by it.
      report(`${this.#name}: its last word is not counted`, error);
      return this.#delivered?.least ?? 0;
    }
  }

  /**
   * Call the handler, once.
   *
   * @returns How it ended. Chunks published before a failure stay published.
   */
  start(): Promise<Outcome> {
    if (this.#over) {
      this.#driven.resolve();
    } else {
      this.#budget.begin();
      this.#since = performance.now();
      this.#deadline = this.#since + this.#bounds.timeout * 1000;
      this.#look();
      void this.#drive();
    }
    return this.#outcome.promise;
  }

  /** Stop it: the outcome is there within {@link GRACE}, whatever the handler does. */
  stop(): void {
    this.#end({ kind: 'stopped' });
  }

  async #drive(): Promise<void> {
    try {
      // A budget may be too small for the first millisecond.
      if (!this.#over) {
        const result = await this.#skill.handler(this.#input);
        this.#iterator = iteratorOf(result);
        await this.#pull(this.#iterator);
        this.#complete();
      }
    } catch (error) {
      this.#end(this.#explained(error));
    } finally {
      this.#close();
      this.#driven.resolve();
    }
  }

  async #pull(iterator: AnyIterator): Promise<void> {
    let count = 0;
    let turn = performance.now();
    while (!this.#over) {
      const next = iterator.next();
      const step = 'then' in next ? await next : next;
      if (step.done === true) {
        this.#iterator = null;
        return;
      }
      this.#take(step.value);
      if (++count % AT_A_STRETCH === 0 || performance.now() - turn > STRETCH_MS) {
        await breathe();
        turn = performance.now();
      }
    }
  }

  #take(output: unknown): void {
    if (this.#over) {
      return;
    }
    const { count } = this.#outputs;
    const chunks = this.#outputs.add(output);
    this.#since = performance.now();
    if (chunks === null) {
      this.#exceed('output_limit', `The output is over ${this.#skill.maxOutputBytes} bytes.`);
    } else if (!this.#budget.allows(count)) {
      if (output instanceof Usage) {
        // A chunk is held back; what is reported was spent all the same.
        this.#tokens = count.tokens();
      }
      this.#exceedBudget();
    } else {
      if (this.#since + this.#budget.lasts(count.most) < this.#looksAt) {
        this.#look();
      }
      this.#deliver(chunks);
    }
  }

  #deliver(chunks: readonly ChunkEvent[]): void {
    if (chunks.length === 0) {
      return;
    }
    const refused = this.#publish(chunks);
    this.#chunks += chunks.length;
    this.#delivered = this.#outputs.count.copy();
    if (refused !== undefined) {
      this.#end(refused);
    }
  }

  #complete(): void {
    if (!this.#over) {
      const tokens = this.#outputs.count.tokens();
      this.#deliver(this.#outputs.finish());
      this.#tokens = tokens;
      this.#end({ kind: 'completed', tokens });
    }
  }

  /** Look whether a limit of time was reached, and when to look again. */
  #look(): void {
    clearTimeout(this.#timer);
    try {
      this.#lookAt(performance.now(), this.#budget.lasts(this.#outputs.count.tokens()));
    } catch (error) {
      this.#end(this.#explained(error));
    }
  }

  #lookAt(now: number, budgetLasts: number): void {
    const idleUntil = this.#since + this.#skill.idleTimeout * 1000;
    if (now >= this.#deadline) {
      this.#exceed('timeout', `The skill did not finish within ${this.#bounds.timeout} s.`);
    } else if (budgetLasts <= 0) {
      this.#exceedBudget();
    } else if (now >= idleUntil) {
      const message = `The skill produced nothing for ${this.#skill.idleTimeout} s.`;
      this.#exceed('idle_timeout', message, true);
    } else {
      const delay = Math.min(this.#deadline - now, idleUntil - now, budgetLasts, LONGEST_DELAY);
      this.#looksAt = now + delay;
      this.#timer = setTimeout(() => this.#look(), Math.ceil(delay));
    }
  }

  #exceedBudget(): void {
    // Not reported: it is the caller's limit, and no fault of the skill.
    this.#end(failure('budget_exceeded', this.#budget.message));
  }

  #exceed(code: string, message: string, retryable = false): void {
    report(`${this.#name}: ${code}`);
    this.#end(failure(code, message, retryable));
  }

  #end(outcome: Outcome): void {
    if (this.#over) {
      return;
    }
    this.#over = true;
    this.#ms = this.#budget.elapsed();
    clearTimeout(this.#timer);
    if (outcome.kind === 'completed') {
      this.#outcome.resolve(outcome);
      return;
    }
    this.#abort.abort();
    this.#close();
    const timer = setTimeout(() => {
      report(
        `${this.#name}: the handler goes on after it was told to stop; abandoned, it ends at its ` +
          'next yield',
      );
      this.#outcome.resolve(outcome);
    }, GRACE);
    void this.#driven.promise.then(() => {
      clearTimeout(timer);
      this.#outcome.resolve(outcome);
    });
  }

  /** Let a generator run its `finally` blocks: at its `yield`, so an async one perhaps later. */
  #close(): void {
    const iterator = this.#iterator;
    this.#iterator = null;
    const failed = (error: unknown): void =>
      report(`${this.#name}: the handler failed after it was told to stop`, error);
    try {
      const closing: unknown = iterator?.return?.();
      if (closing instanceof Promise) {
        closing.catch(failed);
      }
    } catch (error) {
      failed(error);
    }
  }

  get #name(): string {
    return `machpay: execution ${this.#input.executionId} of skill ${this.#skill.id}`;
  }

  /** Say how a run failed. Details go to stderr, not to the client. */
  #explained(error: unknown): Failed {
    if (error instanceof SkillError && isAuthorsCode(error.code)) {
      const message = [...wellFormed(String(error.message))].slice(0, MAX_MESSAGE).join('');
      return failure(error.code, message, error.retryable === true);
    }
    if (!this.#over) {
      if (error instanceof BadOutput || (error instanceof BadCount && error.cause === undefined)) {
        report(`${this.#name}: ${error.message}`);
      } else {
        report(`${this.#name}: the handler threw`, error);
      }
    }
    return failure('skill_error', 'The skill failed.');
  }
}

function failure(code: string, message: string, retryable = false): Failed {
  return { kind: 'failed', code, message, retryable };
}

function isAuthorsCode(code: unknown): boolean {
  return typeof code === 'string' && CODE.test(code) && !PLATFORM_CODES.has(code);
}

/** Take what a handler returned: outputs, or one output, or none. */
function iteratorOf(result: unknown): AnyIterator {
  if (typeof result === 'object' && result !== null && !isOneThing(result)) {
    if (Symbol.asyncIterator in result) {
      return (result as AsyncIterable<unknown>)[Symbol.asyncIterator]();
    }
    if (Symbol.iterator in result) {
      return (result as Iterable<unknown>)[Symbol.iterator]();
    }
  }
  return (result === undefined || result === null ? [] : [result])[Symbol.iterator]();
}

/** Tell whether something that can be iterated is no sequence of outputs. */
function isOneThing(value: object): boolean {
  return ArrayBuffer.isView(value) || value instanceof Map || value instanceof String;
}

function breathe(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

function deferred<T>(): { promise: Promise<T>; resolve: (value: T) => void } {
  let resolve!: (value: T) => void;
  const promise = new Promise<T>((settle) => {
    resolve = settle;
  });
  return { promise, resolve };
}
