/**
 * A recorded stream with everything in it that a stream may hold, and a `fetch` that plays it.
 *
 * It answers as an edge does: a start begins at the front, a `Last-Event-ID` goes on after its event.
 */

export const EXECUTION = 'exec_abc';
export const CHUNKS = ['Once ', '', 'ünd 😀', 'a\u2028b\u0085c\n', '\r\n', 'the end.'];
export const TEXT = CHUNKS.join('');
export const SUMMARY = { tokensUsed: 6, costUsd: 0.0021, durationMs: 80 };
export const START_LINE = 'POST /v1/skills/s/stream';
export const RESUME_LINE = `GET /v1/executions/${EXECUTION}/stream`;
export const CANCEL_LINE = `POST /v1/executions/${EXECUTION}/cancel`;

export function chunkBlock(text: string, index: number, seq: number): string {
  const payload = JSON.stringify({ text, index, timestamp: 17 });
  return `event: chunk\ndata: ${payload}\nid: ${EXECUTION}.1-${seq}\n\n`;
}

export const START = `event: start\ndata: {"executionId":"${EXECUTION}","skillId":"s"}\nid: ${EXECUTION}.0-1\n\n`;
export const END = `event: end\ndata: ${JSON.stringify(SUMMARY)}\nid: ${EXECUTION}.1-10\n\n`;
export const FAILED = `event: error\ndata: {"code":"skill_error","message":"No.","retryable":true}\nid: ${EXECUTION}.1-4\n\n`;

const SEQS = [3, 4, 5, 6, 8, 9];

export const PLAIN: readonly string[] = [
  START,
  ...CHUNKS.map((text, index) => chunkBlock(text, index, SEQS[index] ?? 0)),
  END,
];

function plain(index: number): string {
  return PLAIN[index] ?? '';
}

/** The same events: every terminator, heartbeats, retry, unknown fields and events. */
export const MIXED: readonly string[] = [
  `retry: 1\n${plain(0)}`,
  `:\n${plain(1).replaceAll('\n', '\r\n')}`,
  `: ping\n\n${plain(2).replaceAll('\n', '\r')}`,
  `foo: bar\n${plain(3)}`,
  plain(4).replace('{"text":', '{"text":\ndata: ').replace('data: {', 'data:{'),
  `event: note\ndata: from a newer server\nid: ${EXECUTION}.1-7\n\n`,
  plain(5),
  plain(6).replace('id: ', ':\n:\nid:'),
  `retry: none\n:\n${plain(7).replaceAll('\n', '\r\n')}`,
];

/** Blocks, each with one event, which ends it. */
export class Recording {
  readonly blocks: readonly string[];
  readonly cursors: readonly string[];

  constructor(blocks: readonly string[]) {
    this.blocks = blocks;
    this.cursors = blocks.map((block) => [...block.matchAll(/id: ?(\S+)/g)].at(-1)?.[1] ?? '');
  }

  /** What is sent after a cursor, with a byte order mark in front. */
  after(cursor: string | null): Buffer {
    const position = cursor === null ? 0 : this.cursors.indexOf(cursor) + 1;
    return Buffer.from(`\ufeff${this.blocks.slice(position).join('')}`);
  }

  /** The cursor of the last event in the first bytes. A CRLF's CR completes a block. */
  completeIn(size: number): string | null {
    let end = Buffer.byteLength('\ufeff');
    let cursor: string | null = null;
    for (const [index, block] of this.blocks.entries()) {
      end += Buffer.byteLength(block);
      if (size >= end - (block.endsWith('\r\n') ? 1 : 0)) {
        cursor = this.cursors[index] ?? null;
      }
    }
    return cursor;
  }
}

/** An answer whose body is a stream of events, in pieces, which may break at its end. */
export function sse(pieces: Iterable<string | Uint8Array>, broken?: Error): Response {
  const iterator = pieces[Symbol.iterator]();
  const body = new ReadableStream<Uint8Array>({
    pull(controller) {
      const { value, done } = iterator.next();
      if (!done) {
        controller.enqueue(Buffer.from(value));
      } else if (broken === undefined) {
        controller.close();
      } else {
        controller.error(broken);
      }
    },
  });
  return new Response(body, { headers: { 'content-type': 'text/event-stream; charset=utf-8' } });
}

/** An answer of events that stays open until it is cancelled. */
export function open(text: string, cancelled: () => void = () => undefined): Response {
  const body = new ReadableStream<Uint8Array>({
    start(controller) {
      controller.enqueue(Buffer.from(text));
    },
    cancel: cancelled,
  });
  return new Response(body, { headers: { 'content-type': 'text/event-stream' } });
}

/** An answer that refuses. */
export function refused(status: number, code = 'busy', headers: HeadersInit = {}): Response {
  return Response.json({ error: { code, message: `It is ${code}.` } }, { status, headers });
}

/** What was asked of a {@link Script}. */
export interface Asked {
  readonly line: string;
  readonly url: string;
  readonly method: string;
  readonly headers: Headers;
  readonly body: string | null;
  readonly signal: AbortSignal;
}

/** An answer: an error is thrown, a function is asked. */
export type ScriptAnswer = Response | Error | ((asked: Asked) => Response | Promise<Response>);

/** A `fetch` that answers the n-th request with the n-th answer, and notes the requests. */
export class Script {
  readonly requests: Asked[] = [];
  readonly #answers: ScriptAnswer[];

  constructor(...answers: ScriptAnswer[]) {
    this.#answers = answers;
  }

  /** Never called as a method: a browser's own would refuse that. */
  readonly fetch = async (input: string | URL | Request, init: RequestInit = {}) => {
    const url = new URL(String(input));
    const asked: Asked = {
      line: `${init.method} ${url.pathname}`,
      url: url.href,
      method: String(init.method),
      headers: new Headers(init.headers),
      body: init.body === undefined ? null : String(init.body),
      signal: init.signal as AbortSignal,
    };
    this.requests.push(asked);
    const answer = this.#answers.shift();
    if (answer === undefined) {
      throw new Error(`nothing is left to answer ${asked.line} with`);
    }
    if (answer instanceof Error) {
      throw answer;
    }
    return typeof answer === 'function' ? await answer(asked) : answer;
  };

  get lines(): string[] {
    return this.requests.map(({ line }) => line);
  }

  get cursors(): (string | null)[] {
    return this.requests.map(({ headers }) => headers.get('last-event-id'));
  }
}

/** How `fetch` fails in Node.js. */
export function failed(code = 'ECONNREFUSED'): TypeError {
  const cause = Object.assign(new Error('connect failed'), { code });
  return new TypeError('fetch failed', { cause });
}

/** Read all that an iterable yields, or the first few. */
export async function collect<T>(iterable: AsyncIterable<T>, limit = Infinity): Promise<T[]> {
  const seen: T[] = [];
  for await (const value of iterable) {
    seen.push(value);
    if (seen.length >= limit) {
      break;
    }
  }
  return seen;
}

/** Return what a promise rejects with; fails when it does not. */
export async function rejection(promise: Promise<unknown>): Promise<unknown> {
  let value: unknown;
  try {
    value = await promise;
  } catch (error) {
    return error;
  }
  throw new Error(`did not reject, but returned ${JSON.stringify(value)}`);
}
