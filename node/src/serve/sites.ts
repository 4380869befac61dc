/** Which pages may start and stop something here: ours, and those of welcome origins. */

import { isIP } from 'node:net';
import { ApiError } from './errors.js';
import type { Exchange } from './exchange.js';

const OURS = new Set(['none', 'same-origin']);

/** Refuses what another site's page made its visitor's browser send. */
export class Sites {
  readonly #origins: ReadonlySet<string>;
  readonly #hosts: ReadonlySet<string>;
  readonly #local: () => boolean;

  /**
   * @param origins - Origins that are welcome; `*` is any.
   * @param local - Whether the server is for this machine alone.
   */
  constructor(origins: Iterable<string>, local: () => boolean) {
    this.#origins = new Set(origins);
    this.#hosts = new Set([...this.#origins].map(hostOfOrigin));
    this.#local = local;
  }

  /**
   * Refuses a request that came by a name which is not ours, where the server is for this machine alone.
   *
   * Whoever has a name can make it resolve to somebody else's machine (DNS rebinding). To a browser
   * there, that name's pages and what listens on that machine are then one site, and all that tells is
   * the `Host`. Nobody has a loopback name, or can put a page at an address.
   *
   * @throws ApiError - 403 `forbidden`.
   */
  refuseOtherNames(exchange: Exchange): void {
    if (!this.#local() || this.#origins.has('*')) {
      return;
    }
    const host = hostOf(exchange.header('host')[0] ?? '');
    if (!isLocalName(host) && isIP(host) === 0 && !this.#hosts.has(host)) {
      const message =
        "On loopback, this server answers to localhost and to IP addresses only: name the host's " +
        'origin in its origins.';
      throw new ApiError(403, 'forbidden', message);
    }
  }

  /**
   * Refuses a request that changes something, when it comes from another site's page.
   *
   * There is no authentication here; a GET needs no permission to be sent, an `<img>` would do, and a
   * form can post text that is JSON. Browsers say where a request comes from: in `Sec-Fetch-Site`
   * (Fetch Metadata) to us when we are on https or loopback, in `Origin` with anything but a GET.
   * Other clients say nothing.
   *
   * @throws ApiError - 403 `forbidden`.
   */
  refuseOthers(exchange: Exchange): void {
    const [origin] = exchange.header('origin');
    if (origin !== undefined && (this.#origins.has('*') || this.#origins.has(origin))) {
      return;
    }
    const [site] = exchange.header('sec-fetch-site');
    const ours =
      site === undefined ? origin === undefined || sameHost(origin, exchange) : OURS.has(site);
    if (!ours) {
      throw new ApiError(403, 'forbidden', "Pages of other sites can't do this here.");
    }
  }
}

/** Tells whether an address is of this machine alone. */
export function isLoopback(address: string): boolean {
  return address === '::1' || /^(::ffff:)?127\./i.test(address);
}

function isLocalName(host: string): boolean {
  return host === 'localhost' || host.endsWith('.localhost');
}

/** Takes the port off a host, and the brackets; empty when it is none. */
function hostOf(host: string): string {
  const [, address, name] = /^(?:\[([^\]]+)\]|([^:[\]]+))(?::\d*)?$/.exec(host.toLowerCase()) ?? [];
  return address ?? name ?? '';
}

function hostOfOrigin(origin: string): string {
  return hostOf(origin.replace(/^[a-z]+:\/\//, ''));
}

function sameHost(origin: string, exchange: Exchange): boolean {
  // The scheme may differ: a proxy in front of us speaks TLS, and we don't know.
  return origin.replace(/^[a-z]+:\/\//, '') === exchange.header('host')[0];
}
