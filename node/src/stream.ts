/// <reference lib="esnext.disposable" preserve="true" />

import { clock } from './clock.js';
import { Transcript } from './cursor.js';
import { StreamError } from './errors.js';
import type {
  ChunkEvent,
  EndEvent,
  ErrorEvent,
  StartEvent,
  StreamEvent,
  Summary,
} from './events.js';
import { ConnectionLost, Exchange, type Http } from './http.js';
import { Listeners } from './listeners.js';
import { cancelRequest } from './requests.js';
import type { Result } from './results.js';
import type { Connection, StreamSession } from './session.js';

/** What the listeners of a {@link Stream} are called with. */
export interface StreamListeners {
  /** The execution began; or began again, with `attempt`, and text before it is void. */
  start: StartEvent;
  /** A piece of output came. */
  chunk: ChunkEvent;
  /** The execution completed. */
  end: EndEvent;
  /** The execution failed, the server refuses, or the stream was lost for good. */
  error: StreamError;
}

/** What a connection yields: that it stands (`null`), and then its events. */
type Pump = AsyncGenerator<StreamEvent | null, void, void>;

/**
 * The output of an execution as it is produced. A lost connection is resumed without a gap or a
 * repetition.
 *
 * Read it in one of these ways, one at a time; or `close()` it, for it holds a connection:
 *
 * - `for await (const chunk of stream)`. Leaving the loop closes the connection, not the execution;
 *   another loop goes on where it was left.
 * - {@link Stream.events}, {@link Stream.text}, {@link Stream.result}.
 * - Listeners: with the first `on()` it flows by itself, from the end of the current turn on (so add
 *   them without an `await` in between). They are called by a loop, too, if one begins in that turn.
 *
 * A skill may begin again after a lost worker (`on_interrupt="restart"`). What a loop over chunks has
 * shown cannot be taken back: use `events()` or `on('start')`, where an `attempt` voids the text
 * before it, or `text()`, which knows.
 */
export class Stream implements AsyncIterable<ChunkEvent> {
  readonly #http: Http;
  readonly #session: StreamSession;
  readonly #signal: AbortSignal | undefined;
  readonly #listeners = new Listeners<StreamListeners>();
  /** Aborted when the stream is closed, or its signal is: ends pauses. */
  readonly #stop = new AbortController();
  #exchange: Exchange | null = null;
  #source: Pump | null = null;
  #held: StreamEvent | null = null;
  #isRead = false;
  #isScheduled = false;
  /** The error that `error` listeners were called with. */
  #told: unknown = null;
  #failure: StreamError | null = null;

  /** @internal */
  constructor(http: Http, session: StreamSession, signal: AbortSignal | undefined) {
    this.#http = http;
    this.#session = session;
    this.#signal = signal;
  }

  /** The execution's id. */
  get executionId(): string | null {
    return this.#session.cursor.executionId;
  }

  /** The last event that was taken from the stream: `client.executions.stream` resumes there. */
  get cursor(): string | null {
    // What is held back was received, but not taken.
    return this.#held === null ? this.#session.cursor.cursor : null;
  }

  /** What the execution used and cost, after the last chunk; `null` before. */
  get summary(): Summary | null {
    return this.#session.cursor.summary;
  }

  /** How many times another connection had to take over. */
  get resumes(): number {
    return this.#session.resumes;
  }

  /**
   * Yield the chunks.
   *
   * @throws StreamError - The execution failed, the server refuses, or the stream was lost for good.
   */
  async *[Symbol.asyncIterator](): AsyncGenerator<ChunkEvent, void, void> {
    for await (const event of this.#events()) {
      if (event.type === 'error') {
        throw this.#failed(event);
      }
      if (event.type === 'chunk') {
        yield event;
      }
    }
  }

  /**
   * Yield all events; an `error` event too, as the last one, instead of throwing.
   *
   * @throws StreamError - The server refuses, or the stream was lost for good.
   */
  events(): AsyncGenerator<StreamEvent, void, void> {
    return this.#events();
  }

  /**
   * Read to the end, and return the text of all that was not read before. Text of an attempt that
   * was superseded is left out.
   *
   * @throws StreamError - As for the loop over chunks.
   */
  async text(): Promise<string> {
    const transcript = new Transcript();
    for await (const event of this.#events()) {
      if (event.type === 'error') {
        throw this.#failed(event);
      }
      transcript.add(event);
    }
    return transcript.text;
  }

  /**
   * Read to the end, and return the text (as {@link Stream.text}) with the summary.
   *
   * @throws StreamError - As for the loop over chunks.
   */
  async result(): Promise<Result> {
    const text = await this.text();
    const { summary, executionId } = this;
    if (summary === null || executionId === null) {
      throw this.#session.cursor.error('interrupted', 'the stream was not read to its end');
    }
    return { text, summary, executionId };
  }

  /**
   * Add a listener. The stream then flows by itself, if nothing reads it.
   *
   * An error that no `error` listener takes, and no loop, ends as an unhandled rejection: it is not
   * lost, and by default ends a process of Node.js. So does what a listener throws.
   */
  on<K extends keyof StreamListeners>(
    name: K,
    listener: (payload: StreamListeners[K]) => void,
  ): this {
    return this.#add(name, listener, false);
  }

  /** Add a listener that is called once. See {@link Stream.on}. */
  once<K extends keyof StreamListeners>(
    name: K,
    listener: (payload: StreamListeners[K]) => void,
  ): this {
    return this.#add(name, listener, true);
  }

  /** Remove a listener. */
  off<K extends keyof StreamListeners>(
    name: K,
    listener: (payload: StreamListeners[K]) => void,
  ): this {
    this.#listeners.remove(name, listener);
    return this;
  }

  /**
   * Stop the execution, at any time. The stream then ends with an `error` event, `cancelled`. To
   * repeat it is harmless.
   *
   * @throws StreamError - The server refuses, or cannot be reached.
   */
  async cancel(): Promise<void> {
    if (this.executionId !== null) {
      await this.#http.call(cancelRequest(this.executionId), () => undefined);
    }
  }

  /** Give the stream up: close its connection, and end what reads it. The execution goes on. */
  close(): void {
    this.#session.closed = true;
    this.#interrupt();
  }

  /** {@link Stream.close}, for `await using`. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.close();
  }

  /**
   * Connect, so that what the server refuses is told before there is anything to read.
   *
   * @param until - Wait for the first event, or only for the head of the response.
   * @throws StreamError - The server refuses, or cannot be reached.
   * @internal
   */
  async open(until: 'event' | 'head'): Promise<this> {
    this.#source = this.#pump();
    let step = await this.#source.next();
    while (!step.done && step.value === null && until === 'event') {
      step = await this.#source.next();
    }
    this.#held = step.value ?? null;
    return this;
  }

  #add<K extends keyof StreamListeners>(
    name: K,
    listener: (payload: StreamListeners[K]) => void,
    once: boolean,
  ): this {
    this.#listeners.add(name, listener, once);
    if (!this.#isScheduled) {
      this.#isScheduled = true;
      queueMicrotask(() => this.#begin());
    }
    return this;
  }

  /** Flow, unless something reads the stream, or nothing is left of it. */
  #begin(): void {
    this.#isScheduled = false;
    const isLeft = this.#held !== null || !this.#session.cursor.finished;
    if (isLeft && !this.#session.closed && !this.#isRead && this.#listeners.any) {
      void this.#flow();
    }
  }

  /** Read for the listeners alone. Rejects, on purpose unhandled, with what none of them took. */
  async #flow(): Promise<void> {
    try {
      for await (const event of this.#events()) {
        if (event.type === 'error') {
          throw this.#failed(event);
        }
      }
    } catch (error) {
      if (error !== this.#told) {
        throw error;
      }
    }
  }

  /** Yield the events, after listeners were called with each. The one way in which all is read. */
  async *#events(): AsyncGenerator<StreamEvent, void, void> {
    if (this.#isRead) {
      throw new Error('another loop, or a listener, reads this stream');
    }
    if (this.#session.closed) {
      throw new Error('the stream is closed');
    }
    this.#isRead = true;
    const source = this.#source ?? this.#pump();
    this.#source = null;
    try {
      let event = this.#held ?? (await this.#next(source));
      while (event !== null && !this.#session.closed) {
        this.#held = null;
        this.#tell(event);
        yield event;
        event = await this.#next(source);
      }
    } finally {
      this.#isRead = false;
      await source.return();
    }
  }

  async #next(source: Pump): Promise<StreamEvent | null> {
    try {
      let step = await source.next();
      while (!step.done && step.value === null) {
        step = await source.next();
      }
      return step.value ?? null;
    } catch (error) {
      this.#tellError(error);
      throw error;
    }
  }

  #tell(event: StreamEvent): void {
    switch (event.type) {
      case 'start':
        this.#listeners.call('start', event);
        break;
      case 'chunk':
        this.#listeners.call('chunk', event);
        break;
      case 'end':
        this.#listeners.call('end', event);
        break;
      case 'error':
        this.#tellError(this.#failed(event));
        break;
    }
  }

  /** Tell listeners of an error: of an abort, as a `StreamError` that was caused by its reason. */
  #tellError(error: unknown): void {
    const told =
      error instanceof StreamError
        ? error
        : this.#session.cursor.error('aborted', 'The stream was aborted.', { cause: error });
    if (this.#listeners.call('error', told)) {
      this.#told = error;
    }
  }

  /** The error of an `error` event: the same one for listeners and loops. */
  #failed({ code, message, retryable = false }: ErrorEvent): StreamError {
    this.#failure ??= this.#session.cursor.error(code, message, { retryable });
    return this.#failure;
  }

  /** Connect, as often as it takes, and yield what comes. */
  async *#pump(): Pump {
    const interrupt = () => this.#interrupt();
    this.#signal?.addEventListener('abort', interrupt);
    try {
      let pause = 0;
      while (!this.#session.isOver) {
        await clock.pause(pause, this.#stop.signal);
        this.#signal?.throwIfAborted();
        if (this.#session.closed) {
          return;
        }
        const connection = this.#session.connection();
        yield* this.#carry(connection);
        if (!this.#session.isOver) {
          this.#signal?.throwIfAborted();
          pause = connection.ended();
        }
      }
    } finally {
      this.#signal?.removeEventListener('abort', interrupt);
    }
  }

  /** Carry one connection out. */
  async *#carry(connection: Connection): Pump {
    const exchange = new Exchange(this.#http.config.timeout);
    this.#exchange = exchange;
    try {
      const { status, headers } = await exchange.open(this.#http.config, connection.request);
      if (connection.opened(status, headers)) {
        yield null;
      }
      let piece = await exchange.read();
      while (piece !== null) {
        for (const event of connection.feed(piece)) {
          yield event;
          this.#signal?.throwIfAborted();
          if (this.#session.closed) {
            return;
          }
        }
        piece = connection.done ? null : await exchange.read();
      }
    } catch (error) {
      if (!(error instanceof ConnectionLost)) {
        throw error;
      }
      connection.lost(error);
    } finally {
      exchange.close();
      this.#exchange = null;
    }
  }

  #interrupt(): void {
    this.#stop.abort();
    this.#exchange?.close();
  }
}
