/** Which pages may start and stop something here: ours, and those of welcome origins. */

import { ApiError } from './errors.js';
import type { Exchange } from './exchange.js';

const OURS = new Set(['none', 'same-origin']);

/** Refuses what another site's page made its visitor's browser send. */
export class Sites {
  readonly #origins: ReadonlySet<string>;

  /** @param origins - Origins that are welcome; `*` is any. */
  constructor(origins: Iterable<string>) {
    this.#origins = new Set(origins);
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

function sameHost(origin: string, exchange: Exchange): boolean {
  // The scheme may differ: a proxy in front of us speaks TLS, and we don't know.
  return origin.replace(/^[a-z]+:\/\//, '') === exchange.header('host')[0];
}
