/** `skill.serve()`: skills served over HTTP from their own process. */

import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo, Socket } from 'node:net';
import type { Skill } from '../skill.js';
import { Browser } from './browser.js';
import { Clients } from './clients.js';
import { Cors } from './cors.js';
import { ApiError, badRequest, shuttingDown } from './errors.js';
import { Exchange } from './exchange.js';
import { report } from './journal.js';
import { MEMORY_LIMITS, MemoryExecutions, type MemoryLimits } from './memory.js';
import { Pipelines } from './pipeline.js';
import { ClientLeft } from './requests.js';
import { errorJson, HEADERS, sendError } from './responses.js';
import { noSuchRoute, type Route, Surface } from './routes.js';
import { closeOnSignals } from './signals.js';
import { isLoopback, Sites } from './sites.js';

/** How long closing waits for clients that take nothing, in ms; others take no time. */
const GRACE = 3000;

/** How long after that the last answers may take, in ms. */
const LAST_CALL = 200;

/** Where a skill server listens, and who may call it. */
export interface ServeOptions {
  /** The TCP port; 0 picks a free one. 8080 when left out. */
  readonly port?: number | undefined;
  /**
   * The address to listen on; `127.0.0.1` when left out. There is no authentication: keep it on
   * loopback or behind something that has. On loopback, it answers to `localhost`, to IP addresses and
   * to the hosts of `origins`: whoever has a name can make it lead to your machine.
   */
  readonly host?: string | undefined;
  /** Origins that browsers may call it from, e.g. `https://app.example`; `*` is any, none by default. */
  readonly origins?: readonly string[] | undefined;
}

/**
 * What only tests change.
 *
 * @internal
 */
export interface Settings {
  readonly origins: readonly string[];
  /** The largest request body, in bytes. */
  readonly maxBodyBytes: number;
  /** How long a client may take to send its body, in s. */
  readonly bodyTimeout: number;
  /** A client that takes nothing for so long, in s, is cut. */
  readonly sendTimeout: number;
  /** After how much silence a reader gets a heartbeat, in s. */
  readonly heartbeat: number;
  readonly memory: MemoryLimits;
}

/** @internal */
export const SETTINGS: Settings = {
  origins: [],
  maxBodyBytes: 1 << 20,
  bodyTimeout: 30,
  sendTimeout: 30,
  heartbeat: 15,
  memory: MEMORY_LIMITS,
};

/** A skill server that listens. */
export class SkillServer {
  readonly #server: Server;
  readonly #executions: MemoryExecutions;
  readonly #clients: Clients;
  readonly #cors: Cors;
  readonly #sites: Sites;
  readonly #pipelines = new Pipelines();
  readonly #routes: readonly Route[];
  /** Requests that are not over. */
  readonly #exchanges = new Set<Exchange>();
  /** It is for this machine alone. */
  #local = true;
  #draining = false;
  #closed: Promise<void> | undefined;
  #forgetSignals: () => void = () => {};

  /**
   * @param skills - What it serves.
   * @param settings - How.
   * @throws TypeError - A skill has no handler, or two have the same id.
   * @internal
   */
  constructor(skills: readonly Skill[], settings: Settings = SETTINGS) {
    this.#executions = new MemoryExecutions(skills, settings.memory);
    // Who names no host is answered by us: Node.js would say nothing, and give no id.
    this.#server = createServer({ requireHostHeader: false });
    this.#clients = new Clients(this.#server, settings.sendTimeout);
    this.#cors = new Cors(settings.origins);
    this.#sites = new Sites(settings.origins, () => this.#local);
    const body = { maxBytes: settings.maxBodyBytes, timeout: settings.bodyTimeout };
    const surface = new Surface({
      executions: this.#executions,
      body,
      heartbeat: settings.heartbeat,
      draining: () => this.#draining,
      sites: this.#sites,
    });
    this.#routes = [...surface.routes(), new Browser(surface, this.#executions, body).route()];
    this.#server.on('request', (request, response) => this.#serve(request, response, false));
    this.#server.on('checkContinue', (request, response) => this.#serve(request, response, true));
    this.#server.on('checkExpectation', (request, response) =>
      this.#serve(request, response, false),
    );
    this.#server.on('clientError', (_error, socket) => this.#refuseNoise(socket as Socket));
  }

  /** Where it listens. */
  get port(): number {
    return this.#address.port;
  }

  /** Where it listens, for clients: `http://127.0.0.1:8080`. */
  get url(): string {
    const { address, port } = this.#address;
    return `http://${address.includes(':') ? `[${address}]` : address}:${port}`;
  }

  get #address(): AddressInfo {
    const address = this.#server.address();
    if (address === null || typeof address === 'string') {
      throw new Error('the skill server does not listen');
    }
    return address;
  }

  /**
   * Listens.
   *
   * @param port - The TCP port; 0 picks a free one.
   * @param host - The address to listen on.
   * @internal
   */
  listen(port: number, host: string): Promise<void> {
    return new Promise((resolve, reject) => {
      const failed = (error: Error) => {
        this.#clients.close();
        reject(error);
      };
      this.#server.once('error', failed);
      this.#server.listen(port, host, () => {
        this.#server.off('error', failed);
        this.#local = isLoopback(this.#address.address);
        resolve();
      });
    });
  }

  /**
   * Closes by SIGTERM and SIGINT as well.
   *
   * @internal
   */
  heedSignals(): void {
    this.#forgetSignals = closeOnSignals(this);
  }

  /**
   * Ends all executions with `error worker_lost`, and starts no more.
   *
   * @internal
   */
  drain(): Promise<void> {
    this.#draining = true;
    return this.#executions.stop();
  }

  /**
   * How many requests and connections there are.
   *
   * @internal
   */
  get load(): { readonly requests: number; readonly connections: number } {
    return { requests: this.#exchanges.size, connections: this.#clients.count };
  }

  /**
   * Stops serving: executions end with `error worker_lost`, streams with that, then connections are
   * closed. Clients that take nothing are cut after 3 s. Again and again if you like.
   */
  close(): Promise<void> {
    this.#closed ??= this.#close();
    return this.#closed;
  }

  /** Closes it. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  async #close(): Promise<void> {
    const gone = new Promise<void>((resolve) => this.#server.close(() => resolve()));
    const timers = [
      setTimeout(() => this.#giveUp(), GRACE),
      setTimeout(() => this.#server.closeAllConnections(), GRACE + LAST_CALL),
    ];
    await this.drain();
    this.#server.closeIdleConnections();
    await gone;
    timers.map(clearTimeout);
    this.#clients.close();
    this.#forgetSignals();
  }

  /** Answers those that have no answer yet. */
  #giveUp(): void {
    for (const exchange of this.#exchanges) {
      sendError(exchange, shuttingDown());
    }
  }

  async #serve(
    request: IncomingMessage,
    response: ServerResponse,
    asksFirst: boolean,
  ): Promise<void> {
    const exchange = new Exchange(request, response, asksFirst);
    this.#exchanges.add(exchange);
    response.once('close', () => {
      this.#exchanges.delete(exchange);
      if (this.#closed !== undefined) {
        setImmediate(() => this.#server.closeIdleConnections());
      }
    });
    try {
      if (!(await this.#pipelines.turn(request.socket, response))) {
        this.#exchanges.delete(exchange);
        return;
      }
      refuseAmbiguous(exchange);
      if (!this.#cors.answer(exchange)) {
        await this.#answer(exchange);
      }
    } catch (error) {
      refuse(exchange, error);
    }
  }

  /** Answers what is no request; not in the middle of another answer, where nobody could tell. */
  #refuseNoise(socket: Socket): void {
    if (!socket.writable || this.#pipelines.isBusy(socket)) {
      socket.destroy();
      return;
    }
    const body = errorJson(badRequest('This is no HTTP request.'));
    const headers = {
      ...HEADERS,
      'Content-Type': 'application/json',
      'Content-Length': body.length,
      Connection: 'close',
    };
    const lines = Object.entries(headers).map(([name, value]) => `${name}: ${value}\r\n`);
    socket.end(`HTTP/1.1 400 Bad Request\r\n${lines.join('')}\r\n${body}`);
  }

  #answer(exchange: Exchange): void | Promise<void> {
    const route = this.#routes.find(({ path }) => path.test(exchange.path));
    const method = exchange.method === 'HEAD' ? 'GET' : exchange.method;
    const answer = route !== undefined && Object.hasOwn(route.methods, method);
    if (!answer) {
      throw noSuchRoute(route);
    }
    if (route.open === undefined) {
      this.#sites.refuseOtherNames(exchange);
    }
    const id = route.path.exec(exchange.path)?.[1] ?? '';
    return route.methods[method]?.(exchange, id);
  }
}

/** Refuses a request of two hosts, or of none (RFC 9112, 3.2), and of two credentials. */
function refuseAmbiguous(exchange: Exchange): void {
  const hosts = exchange.header('host').length;
  const wanted = exchange.request.httpVersion === '1.1' ? 1 : 0;
  if (hosts < wanted || hosts > 1 || exchange.header('authorization').length > 1) {
    throw badRequest('A request has one Host, and at most one Authorization.');
  }
}

function refuse(exchange: Exchange, error: unknown): void {
  if (error instanceof ApiError) {
    sendError(exchange, error);
  } else if (!(error instanceof ClientLeft)) {
    report(`[${exchange.requestId}] machpay: a request could not be answered`, error);
    if (exchange.answered) {
      exchange.response.destroy();
    }
    sendError(exchange, new ApiError(500, 'internal', 'Something went wrong on our side.'));
  }
}

/**
 * Serves skills until the process is told to stop, and says where.
 *
 * @param skills - What to serve; one, or several with different ids.
 * @param options - Where to listen, and who may call.
 * @returns The server, once it listens. Rejects with the system's error if it can't, and with a
 *   `TypeError` if a skill has no handler, or two have the same id.
 */
export async function serve(
  skills: Skill | readonly Skill[],
  options: ServeOptions = {},
): Promise<SkillServer> {
  const served = 'id' in skills ? [skills] : skills;
  const { port = 8080, host = '127.0.0.1', origins = [] } = options;
  const server = new SkillServer(served, { ...SETTINGS, origins });
  await server.listen(port, host);
  server.heedSignals();
  const names = served.map((skill) => skill.id).join(', ');
  console.log(`Serving ${names} at ${server.url} (stop with Ctrl-C)`);
  return server;
}
