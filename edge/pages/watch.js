/**
 * An execution that is watched, over any number of connections: started or joined, cut and resumed.
 *
 * It holds what is known; what is shown of it is the business of who listens.
 */

import { isOver } from './advice.js';
import * as api from './api.js';
import { charactersOf } from './money.js';
import { Connection } from './stream.js';

const ASK_AFTER_MS = 1500;
const LONGEST_PAUSE_MS = 8000;
const RATE_OVER = 24;

export class Watch {
  id = null;
  skill = null;
  status = 'idle';
  error = null;
  summary = null;
  /** What was paid of a run that did not complete, once that is known. */
  paid = null;
  /** The place of the last event that was read: what a resume goes on from. */
  cursor = null;
  /** Where a late joiner began, if not at the beginning: the number of characters before. */
  joinedAt = null;
  chunks = 0;
  characters = 0;
  firstChunkMs = null;
  /** Whether it was started elsewhere. */
  joined = false;
  /** Chunks that did not follow the one before: none, ever. It is counted, so that it can be seen. */
  gaps = 0;
  /** The last cut: after which place, when, until when, and how many chunks waited meanwhile. */
  seam = null;
  /** What turns the server's clock into ours, in ms: the quickest chunk took no time at all, say. */
  offset = Number.POSITIVE_INFINITY;
  began = performance.now();
  ended = null;
  token = null;

  #on;
  #connection = null;
  #expected = null;
  #written = [];
  #failures = 0;
  #timer = null;
  #left = false;
  #minted = false;
  #before = 0;

  /**
   * @param {object} on `status()`, `started()`, `event(...)`, `text(...)`, `restart()`, `chunk(...)`,
   *   `parted(seam)`.
   */
  constructor(on) {
    this.#on = on;
  }

  /** Start an execution of a skill, and watch it. */
  async start(skill, input, cap) {
    this.skill = skill;
    this.#become('starting');
    try {
      const started = await api.start(skill, input, cap);
      if (this.#left) return;
      this.id = started.execution_id;
      this.token = started.stream_token ?? null;
      this.#on.started();
      await this.#prepare();
      this.#become('queued');
      this.#connect();
    } catch (error) {
      this.#refuse(error);
    }
  }

  /** Join an execution: its text so far, then its stream from there. An ended one is read anew, whole. */
  async join(id, token, { whole = false } = {}) {
    this.id = id;
    this.token = token;
    this.joined = true;
    this.#become('joining');
    try {
      const found = await this.#describe();
      if (this.#left || !found) return;
      this.skill = found.skill_id;
      this.#on.started();
      await this.#prepare();
      this.#before = Math.max(0, Date.now() - found.created_at - this.elapsed());
      const over = !['queued', 'running'].includes(found.status);
      if (!over && !whole && found.text) {
        this.cursor = found.cursor;
        this.joinedAt = charactersOf(found.text);
        this.characters = this.joinedAt;
        this.#on.text(found.text);
      }
      this.#become(found.status === 'queued' ? 'queued' : 'waiting');
      this.#connect();
    } catch (error) {
      this.#refuse(error);
    }
  }

  /** Cut the connection, as a tunnel would. The execution knows nothing of it. */
  cut() {
    if (isOver(this.status) || !this.#connection) return;
    this.#hangUp();
    this.#part();
    this.#become('cut');
  }

  /** Go on from the last event that was read. */
  resume() {
    if (this.status !== 'cut') return;
    this.seam.resumedAt = this.elapsed();
    this.#become('resuming');
    this.#connect();
  }

  /** Stop the execution itself. */
  async cancel() {
    await api.cancel(this.id);
    // It ends by its own event, which nobody would hear while the connection is cut.
    if (this.status === 'cut') this.resume();
  }

  /** Watch no more; the execution goes on. */
  leave() {
    this.#left = true;
    this.#hangUp();
  }

  /** Since the start, or since it was joined, in ms. */
  elapsed() {
    return (this.ended ?? performance.now()) - this.began;
  }

  /** Since it was started, by whomever, in ms: by the server's clock where it was joined. */
  age() {
    return this.elapsed() + this.#before;
  }

  /** Chunks a second, as they were written; `null` before the second one. */
  rate() {
    const times = this.#written;
    const span = times.at(-1) - times[0];
    return span > 0 ? ((times.length - 1) * 1000) / span : null;
  }

  #become(status) {
    this.status = status;
    if (isOver(status)) {
      this.ended = performance.now();
      this.#hangUp();
    }
    this.#on.status();
  }

  #hangUp() {
    clearTimeout(this.#timer);
    this.#connection?.close();
    this.#connection = null;
  }

  #part() {
    const at = this.elapsed();
    this.seam = { at, place: placeOf(this.cursor), resumedAt: null, waiting: 0 };
    this.#on.parted(this.seam);
  }

  /** With a key, an EventSource needs a token of its own: it can't send the key. */
  async #prepare() {
    if (this.token || !api.key()) return;
    this.token = (await api.readToken(this.id))?.token ?? null;
  }

  #connect() {
    if (this.#left) return;
    this.#hangUp();
    this.#connection = new Connection(api.streamUrl(this.id, this), {
      open: () => {
        if (this.status === 'reconnecting' || this.status === 'resuming') {
          this.#become(this.chunks || this.joinedAt !== null ? 'streaming' : 'waiting');
        }
        this.#askSoon();
      },
      lost: () => {
        if (this.status !== 'reconnecting') this.#part();
        this.#become('reconnecting');
      },
      refused: () => this.#wasRefused(),
      event: (name, data, id) => this.#take(name, data, id),
    });
  }

  /** Queued, or running in silence: the stream can't tell, the snapshot can. */
  #askSoon() {
    clearTimeout(this.#timer);
    if (!['queued', 'waiting'].includes(this.status)) return;
    this.#timer = setTimeout(async () => {
      const found = await api.describe(this.id, this.token).catch(() => null);
      if (this.#left || !['queued', 'waiting'].includes(this.status)) return;
      if (found?.status === 'queued') this.#become('queued');
      if (found?.status === 'running') this.#become('waiting');
      this.#askSoon();
    }, ASK_AFTER_MS);
  }

  #take(name, text, id) {
    this.cursor = id;
    this.#failures = 0;
    const data = api.parse(text);
    const at = this.elapsed();
    this.#on.event({ name, text, id, at });
    if (name === 'start') this.#begin(data);
    else if (name === 'chunk') this.#chunk(data, at);
    else if (name === 'end') this.#end(data);
    else if (name === 'error') this.#fail(data);
  }

  #begin({ skillId, attempt = 1 }) {
    this.skill = skillId;
    this.#expected = 0;
    if (attempt > 1) {
      this.characters = 0;
      this.#on.restart(attempt);
    }
    this.#askSoon();
  }

  #chunk({ text, index, timestamp, data }, at) {
    if (this.#expected !== null && index !== this.#expected) this.gaps++;
    this.#expected = index + 1;
    this.firstChunkMs ??= at;
    this.chunks++;
    this.characters += charactersOf(text);
    this.#written.push(timestamp);
    if (this.#written.length > RATE_OVER) this.#written.shift();
    this.offset = Math.min(this.offset, at - timestamp);
    if (this.seam !== null) {
      this.seam.resumedAt ??= at;
      if (timestamp + this.offset < this.seam.resumedAt) this.seam.waiting++;
    }
    this.#on.chunk({ text, at, timestamp, data });
    if (this.status !== 'streaming') this.#become('streaming');
  }

  #end(summary) {
    this.summary = summary;
    this.#become('completed');
  }

  #fail(error) {
    this.error = error;
    this.#become(error.code === 'cancelled' ? 'cancelled' : 'failed');
    this.#askWhatItCost();
  }

  /** The event says nothing of it, the snapshot does. */
  async #askWhatItCost() {
    const found = await api.describe(this.id, this.token).catch(() => null);
    if (this.#left || found?.cost_usd === undefined) return;
    const { tokens_used: tokensUsed, cost_usd: costUsd, duration_ms: durationMs } = found;
    this.paid = { tokensUsed, costUsd, durationMs };
    this.#on.status();
  }

  /** A status other than 200 ended the EventSource. Ask which, and try again unless it is final. */
  async #wasRefused() {
    this.#hangUp();
    this.#become('reconnecting');
    try {
      const found = await this.#describe();
      if (this.#left || !found) return;
      await api.pause(Math.min(500 * 2 ** this.#failures++, LONGEST_PAUSE_MS));
      if (this.status === 'reconnecting') this.#connect();
    } catch (error) {
      this.#refuse(error);
    }
  }

  /** Describe the execution; while the server is away, for as long as it takes. */
  async #describe() {
    for (;;) {
      try {
        return await api.describe(this.id, this.token);
      } catch (error) {
        if (this.#left) return null;
        if (error.status === 401 && !this.#minted) {
          // The token is out of date. Who has the right to get another one gets it.
          this.#minted = true;
          const made = await api.readToken(this.id).catch(() => null);
          if (made === null) throw error;
          this.token = made.token;
        } else if (error.status !== 0 && error.status !== 503) throw error;
        else await api.pause(Math.min(500 * 2 ** this.#failures++, LONGEST_PAUSE_MS));
      }
    }
  }

  #refuse(error) {
    if (this.#left) return;
    if (!(error instanceof api.ApiError)) throw error;
    this.error = { code: error.code, message: error.message };
    if (error.status === 401 || error.status === 403) this.#become('denied');
    else this.#become(error.code === 'execution_not_found' ? 'gone' : 'refused');
  }
}

/** Where in its log a cursor is: the number behind its last dash. */
export function placeOf(cursor) {
  return cursor === null ? 0 : Number(cursor.slice(cursor.lastIndexOf('-') + 1));
}
