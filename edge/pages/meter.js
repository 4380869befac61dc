/** The figures: time to the first chunk, chunks a second, tokens, and the cost as it runs up. */

import { isOver } from './advice.js';
import { cost, estimateTokens, isSome, plain } from './money.js';

export class Meter {
  #fields = {};

  /** @param {Document} page Where the figures are. */
  constructor(page) {
    for (const name of ['first', 'chunks', 'rate', 'time', 'tokens', 'cost']) {
      this.#fields[name] = page.querySelector(`#${name}`);
    }
  }

  /**
   * Show how a run stands.
   *
   * @param {import('./watch.js').Watch} watch The run.
   * @param {object} [pricing] What its skill costs, if that is known.
   */
  show(watch, pricing) {
    const { firstChunkMs, chunks } = watch;
    const summary = watch.summary ?? watch.paid;
    const rate = watch.rate();
    this.#set('first', firstChunkMs === null || watch.joined ? '–' : duration(firstChunkMs));
    this.#set('chunks', chunks.toLocaleString('en'));
    this.#set('rate', rate === null ? '–' : rate >= 100 ? Math.round(rate) : rate.toFixed(1));
    this.#set('time', duration(summary?.durationMs ?? watch.age()));
    const tokens = summary?.tokensUsed ?? estimateTokens(watch.characters);
    this.#set('tokens', `${summary ? '' : '≈ '}${tokens.toLocaleString('en')}`);
    this.#set('cost', summary ? `$${plain(summary.costUsd)}` : this.#cost(watch, pricing, tokens));
  }

  #cost(watch, pricing, tokens) {
    // docs/billing.md: what fails pays nothing; what was stopped pays what it delivered.
    if (watch.status === 'failed' && watch.error.code !== 'budget_exceeded') return '$0';
    if (!pricing || isOver(watch.status)) return '–';
    const grows = isSome(pricing.per_token_usd) || isSome(pricing.per_second_usd);
    return `${grows ? '≈ ' : ''}$${cost(pricing, tokens, watch.age())}`;
  }

  #set(name, text) {
    const field = this.#fields[name];
    if (field.textContent !== String(text)) field.textContent = text;
  }
}

/** Write a duration, given in ms. */
export function duration(ms) {
  if (ms < 1000) return `${Math.round(ms)} ms`;
  if (ms < 60_000) return `${(ms / 1000).toFixed(ms < 10_000 ? 2 : 1)} s`;
  const seconds = Math.floor(ms / 1000);
  return `${Math.floor(seconds / 60)} min${seconds % 60 ? ` ${seconds % 60} s` : ''}`;
}
