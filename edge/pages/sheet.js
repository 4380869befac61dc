/** The sheet: one run, its state, its figures, its text, and the events beside it. */

import { adviceFor, isOver, nameOf } from './advice.js';
import { Tape } from './events.js';
import { duration, Meter } from './meter.js';
import { Ribbon } from './ribbon.js';
import { Text } from './text.js';
import { placeOf, Watch } from './watch.js';

const TICK_MS = 100;

export class Sheet {
  /** The run that is shown; `null`: none. */
  watch = null;
  #at;
  #text;
  #tape;
  #meter;
  #ribbon;
  #pricingOf;
  #changed;
  #timer = null;
  /** What went wrong beside the run itself, until its state is another one. */
  #trouble = '';

  /**
   * @param {Document} page Where it is.
   * @param {object} on `pricing(skill)` and `changed(watch)`, when a run's state is another one.
   */
  constructor(page, { pricing, changed }) {
    this.#at = (id) => page.querySelector(`#${id}`);
    this.#text = new Text(this.#at('text'));
    this.#tape = new Tape(page);
    this.#meter = new Meter(page);
    this.#ribbon = new Ribbon(this.#at('ribbon'));
    this.#pricingOf = pricing;
    this.#changed = changed;
    this.#at('cut').addEventListener('click', () => {
      if (this.watch.status === 'cut') this.watch.resume();
      else this.watch.cut();
    });
    this.#at('cancel').addEventListener('click', () => this.#cancel());
    page.defaultView.addEventListener('resize', () => this.#draw());
    page.defaultView
      .matchMedia('(prefers-color-scheme: dark)')
      .addEventListener('change', () => this.#draw());
  }

  /** Start, and show, a run. */
  start(skill, input, cap) {
    this.#begin().start(skill, input, cap);
  }

  /** Join, and show, an execution. */
  join(id, token, options) {
    this.#begin().join(id, token, options);
  }

  /** Show nothing. What runs goes on. */
  leave() {
    this.watch?.leave();
    this.watch = null;
    clearInterval(this.#timer);
    this.#clear();
    this.#show();
  }

  #begin() {
    this.watch?.leave();
    this.#clear();
    const watch = new Watch({
      status: () => this.watch === watch && this.#show(),
      started: () => this.watch === watch && this.#changed(watch),
      event: (event) => this.#tape.add(event),
      text: (text) => {
        this.#text.add(text);
        this.#tape.remark(
          `joined here: ${text.length.toLocaleString('en')} characters were written before`,
        );
      },
      chunk: (chunk) => this.#take(chunk),
      restart: (attempt) => {
        this.#text.clear();
        this.#tape.remark(`its worker was lost: attempt ${attempt} begins anew`, 'warn');
      },
      parted: (seam) => {
        this.#ribbon.part(seam);
        this.#text.mark(`cut here, after event ${seam.place}`);
        this.#tape.remark(`✂ connection cut after event ${seam.place}`, 'warn');
      },
    });
    this.watch = watch;
    clearInterval(this.#timer);
    this.#timer = setInterval(() => this.#tick(), TICK_MS);
    return watch;
  }

  #clear() {
    this.#text.clear();
    this.#tape.clear();
    this.#ribbon.clear();
    this.#at('progress').hidden = true;
    this.#at('shared').hidden = true;
  }

  #take({ text, at, timestamp, data }) {
    this.#text.add(text);
    this.#ribbon.add(at, timestamp);
    if (typeof data?.progress === 'number') {
      this.#at('progress').hidden = false;
      this.#at('progress').value = data.progress;
    }
  }

  async #cancel() {
    const watch = this.watch;
    this.#at('cancel').disabled = true;
    try {
      await watch.cancel();
    } catch (error) {
      if (this.watch === watch) {
        this.#trouble = `It could not be cancelled: ${error.message} ${adviceFor(error.code)}`;
      }
    } finally {
      this.#at('cancel').disabled = false;
    }
  }

  #tick() {
    if (!this.watch) return;
    if (isOver(this.watch.status)) clearInterval(this.#timer);
    this.#say();
    this.#meter.show(this.watch, this.#pricingOf(this.watch.skill));
    this.#draw();
    this.#at('tape-of').textContent = this.watch.cursor ?? '';
  }

  #draw() {
    const { watch } = this;
    if (watch) this.#ribbon.draw(watch.elapsed(), watch.offset, isOver(watch.status));
  }

  #show() {
    const { watch } = this;
    const status = watch?.status ?? 'idle';
    const has = watch !== null && watch.id !== null && !['gone', 'denied'].includes(status);
    this.#at('sheet').dataset.status = status;
    this.#at('state').textContent = nameOf(status);
    this.#at('title').textContent = watch?.skill ?? '';
    this.#at('idle').hidden = watch !== null;
    this.#at('facts').hidden = this.#at('text').hidden = !has;
    this.#at('text').setAttribute('aria-busy', String(has && !isOver(status)));
    const live = has && !isOver(status) && status !== 'joining';
    this.#at('cut').hidden = this.#at('cancel').hidden = !live;
    this.#at('cut').textContent = status === 'cut' ? 'Resume' : 'Cut the connection';
    this.#at('cut').classList.toggle('go', status === 'cut');
    this.#at('share').hidden = !has;
    this.#trouble = '';
    this.#say();
    this.#tick();
    if (watch) this.#changed(watch);
  }

  #say() {
    const said = this.#trouble || (this.watch ? sentence(this.watch).join(' ').trim() : '');
    if (this.#at('say').textContent !== said) this.#at('say').textContent = said;
  }
}

/** Say how a run stands: what is the case, and what to do. */
function sentence(watch) {
  const { status, error, seam } = watch;
  const place = placeOf(watch.cursor);
  switch (status) {
    case 'queued':
      return ['It waits for a worker.'];
    case 'waiting':
      return ['A worker has it; the first chunk is not there yet.'];
    case 'streaming':
      return [seam ? healed(watch) : watch.joinedAt === null ? '' : 'Joined on the way.'];
    case 'cut':
      return [
        `No connection. The skill goes on: what it writes waits in the log, behind event ${place}.`,
      ];
    case 'reconnecting':
      return [`The connection is lost. It is tried again by itself, from behind event ${place}.`];
    case 'completed':
      return [seam ? healed(watch) : 'All of it is here.'];
    case 'cancelled':
      return ['It was stopped. What was written until then is here.'];
    case 'failed':
      return [`${error.code}: ${error.message}`, adviceFor(error.code, error.retryable)];
    case 'gone':
      return ['There is no such execution.', adviceFor('execution_not_found')];
    case 'denied':
      return watch.token
        ? [
            'This link is not valid, or not any more.',
            'Ask for a new one, or enter an API key at the top.',
          ]
        : [`${error.message}`, adviceFor(error.code)];
    case 'refused':
      return [`${error.code}: ${error.message}`, adviceFor(error.code)];
    default:
      return [''];
  }
}

/** What a cut did to the text: it is counted, not claimed. */
function healed({ seam, gaps }) {
  if (seam.resumedAt === null) return '';
  const away = duration(seam.resumedAt - seam.at);
  const waited = `${seam.waiting} ${seam.waiting === 1 ? 'chunk' : 'chunks'} had waited`;
  const kept =
    gaps === 0 ? 'none is missing, and none came twice' : `${gaps} did not follow the one before`;
  return `Resumed behind event ${seam.place} after ${away}: ${waited}, ${kept}.`;
}
