/** One request and its answer, as the routes see them. */

import type { IncomingMessage, ServerResponse } from 'node:http';
import { REQUEST_ID, requestId } from './requestIds.js';

/** Headers of an answer. */
export type Headers = Readonly<Record<string, string | number>>;

/** One request and its answer. */
export class Exchange {
  readonly request: IncomingMessage;
  readonly response: ServerResponse;
  /** The path, decoded. */
  readonly path: string;
  readonly query: URLSearchParams;
  /** What finds it in the logs of all that it went through. */
  readonly requestId: string;
  /** The client waits for a word before it sends its body (`Expect: 100-continue`). */
  readonly asksFirst: boolean;

  /**
   * @param request - As `node:http` gives it.
   * @param response - The same.
   * @param asksFirst - The client waits for a word before it sends its body.
   */
  constructor(request: IncomingMessage, response: ServerResponse, asksFirst: boolean) {
    this.request = request;
    this.response = response;
    this.asksFirst = asksFirst;
    const [path = '', query = ''] = split(request.url ?? '');
    this.path = decoded(path);
    this.query = new URLSearchParams(query);
    this.requestId = requestId(this.header(REQUEST_ID));
    response.setHeader(REQUEST_ID, this.requestId);
  }

  /** The request's method. */
  get method(): string {
    return this.request.method ?? '';
  }

  /** All values of a request's header, one for each time it is there. */
  header(name: string): readonly string[] {
    return this.request.headersDistinct[name] ?? [];
  }

  /** Whether an answer was begun, or nobody is there for one: no other one can be given. */
  get answered(): boolean {
    return this.response.headersSent || this.response.destroyed;
  }

  /** Begins the answer. */
  head(status: number, headers: Headers): void {
    // Node.js announces `Connection: keep-alive`, which HTTP/1.1 means anyway.
    this.response.removeHeader('Connection');
    this.response.writeHead(status, { ...headers });
  }

  /** Gives the whole answer; a second one is not sent. */
  answer(status: number, headers: Headers, body: string | Buffer): void {
    if (this.answered) {
      return;
    }
    const bytes = Buffer.from(body);
    this.head(status, status === 204 ? headers : { ...headers, 'Content-Length': bytes.length });
    this.response.end(bytes);
  }

  /** Closes the connection without the end of the body, behind what is on its way. */
  hangUp(): void {
    if (this.response.socket === null) {
      this.response.destroy();
    } else {
      this.response.socket.destroySoon();
    }
  }
}

/** Splits a request's target into path and query; it may be a whole URL (RFC 9112, 3.2.2). */
function split(target: string): string[] {
  const local = target.startsWith('/')
    ? target
    : target.replace(/^[a-z][a-z+.-]*:\/\/[^/?#]*/i, '');
  const [withoutFragment = ''] = local.split('#', 1);
  const mark = withoutFragment.indexOf('?');
  return mark < 0
    ? [withoutFragment]
    : [withoutFragment.slice(0, mark), withoutFragment.slice(mark + 1)];
}

/** Undoes percent-encoding; what is no UTF-8 becomes U+FFFD, as in a query. */
function decoded(path: string): string {
  const bytes = path.replace(/%([0-9a-f]{2})/gi, (_, hex) =>
    String.fromCharCode(parseInt(hex, 16)),
  );
  return Buffer.from(bytes, 'latin1').toString('utf8');
}
