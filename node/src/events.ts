/** The four events of a stream: nothing else ever reaches a client. */

import { hasType, optional, record } from './json.js';

/** The stream is open. */
export interface StartEvent {
  /** Tells events apart. */
  readonly type: 'start';
  /** The execution's id, valid at every edge. */
  readonly executionId: string;
  /** The skill that runs. */
  readonly skillId: string;
  /**
   * Only there when it is more than 1: an interrupted execution began again from nothing
   * (`on_interrupt="restart"`), and text received before this event is void.
   */
  readonly attempt?: number;
}

/** One piece of output. */
export interface ChunkEvent {
  /** Tells events apart. */
  readonly type: 'chunk';
  /** The text, never split inside a character. May be empty when `data` is the point. */
  readonly text: string;
  /** 0, 1, 2, ... within an attempt. */
  readonly index: number;
  /** When the worker took it from the handler, in ms since the epoch. */
  readonly timestamp: number;
  /** Any JSON value: the progress of a long task, say. Not there when there is none. */
  readonly data?: unknown;
}

/** What an execution used and what it cost. */
export interface Summary {
  /** Output tokens, as the skill reported them or as estimated. */
  readonly tokensUsed: number;
  /**
   * The cost in USD: the number nearest to the exact decimal that the ledger has. Multiples of
   * 1e-9 USD print as they are; add up many of them in integers, or ask `client.usage`.
   */
  readonly costUsd: number;
  /** From the claim by a worker to the end, in ms. */
  readonly durationMs: number;
}

/** The execution completed. */
export interface EndEvent extends Summary {
  /** Tells events apart. */
  readonly type: 'end';
}

/** The execution ended without completing. */
export interface ErrorEvent {
  /** Tells events apart. */
  readonly type: 'error';
  /** A stable snake_case word, made for programs. */
  readonly code: string;
  /** One sentence, made for people. */
  readonly message: string;
  /** `true` when the same request may well succeed if it is made again; else not there. */
  readonly retryable?: boolean;
}

/** What `stream.events()` yields; `type` tells them apart. */
export type StreamEvent = StartEvent | ChunkEvent | EndEvent | ErrorEvent;

type Payload = Readonly<Record<string, unknown>>;

/** Read an event's payload. Unknown keys are dropped, so that a newer server can add some. */
const READERS: Readonly<Record<StreamEvent['type'], (payload: Payload) => StreamEvent>> = {
  start: (payload) => {
    const attempt = optional(payload, 'attempt', 'integer', 1);
    return {
      type: 'start',
      executionId: hasType(payload, 'executionId', 'string'),
      skillId: hasType(payload, 'skillId', 'string'),
      ...(attempt === 1 ? {} : { attempt }),
    };
  },
  chunk: (payload) => {
    const { data = null } = payload;
    return {
      type: 'chunk',
      text: hasType(payload, 'text', 'string'),
      index: hasType(payload, 'index', 'integer'),
      timestamp: hasType(payload, 'timestamp', 'integer'),
      ...(data === null ? {} : { data }),
    };
  },
  end: (payload) => ({
    type: 'end',
    tokensUsed: hasType(payload, 'tokensUsed', 'integer'),
    costUsd: hasType(payload, 'costUsd', 'number'),
    durationMs: hasType(payload, 'durationMs', 'integer'),
  }),
  error: (payload) => ({
    type: 'error',
    code: hasType(payload, 'code', 'string'),
    message: hasType(payload, 'message', 'string'),
    ...(optional(payload, 'retryable', 'boolean', false) ? { retryable: true } : {}),
  }),
};

/**
 * Tell whether a name on the wire is that of an event that this client knows.
 *
 * @internal
 */
export function isEventType(name: string): name is StreamEvent['type'] {
  return Object.hasOwn(READERS, name);
}

/**
 * Decode an event's payload.
 *
 * @throws SyntaxError, or TypeError - It is not what this event's payload must be.
 * @internal
 */
export function readEvent(type: StreamEvent['type'], data: string): StreamEvent {
  return READERS[type](record(JSON.parse(data), 'the payload'));
}
