/**
 * The raw events, as a roll of tape: what came, in the order in which it came.
 *
 * The last few hundred are kept, however long a run is.
 */

import { placeOf } from './watch.js';

const KEPT = 300;
const SHOWN_OF_ONE = 400;

export class Tape {
  #roll;
  #rows;
  #earlier;
  #empty;
  #pending = [];
  #dropped = 0;
  #frame = 0;

  /** @param {Document} page Where `#tape` is. */
  constructor(page) {
    this.#roll = page.querySelector('#tape');
    this.#rows = page.querySelector('#tape-rows');
    this.#earlier = page.querySelector('#tape-earlier');
    this.#empty = page.querySelector('#tape-empty');
  }

  /** Begin anew. */
  clear() {
    this.#pending = [];
    this.#dropped = 0;
    this.#rows.replaceChildren();
    this.#earlier.hidden = true;
    this.#empty.hidden = false;
  }

  /** Add an event: `{name, text, id, at}`. */
  add(event) {
    this.#queue(event);
  }

  /** Add a remark of ours between the events. */
  remark(text, kind = '') {
    this.#queue({ remark: text, kind });
  }

  #queue(entry) {
    this.#pending.push(entry);
    this.#frame ||= requestAnimationFrame(() => this.#flush());
  }

  #flush() {
    this.#frame = 0;
    const roll = this.#roll;
    const follows = roll.scrollHeight - roll.scrollTop - roll.clientHeight < 60;
    const skipped = Math.max(0, this.#pending.length - KEPT);
    const rows = this.#pending.slice(skipped).map(rowOf);
    this.#pending = [];
    this.#rows.append(...rows);
    let surplus = this.#rows.childElementCount - KEPT;
    this.#dropped += skipped + Math.max(0, surplus);
    while (surplus-- > 0) this.#rows.firstElementChild.remove();
    this.#empty.hidden = this.#rows.childElementCount > 0;
    this.#earlier.hidden = this.#dropped === 0;
    this.#earlier.textContent = `${this.#dropped.toLocaleString('en')} earlier`;
    if (follows) roll.scrollTop = roll.scrollHeight;
  }
}

function rowOf({ name, text, id, at, remark, kind }) {
  const row = document.createElement('li');
  if (remark !== undefined) {
    row.className = `remark ${kind}`;
    row.textContent = remark;
    return row;
  }
  row.className = name;
  row.title = `id: ${id}`;
  const more = text.length - SHOWN_OF_ONE;
  row.append(
    part('at', `+${(at / 1000).toFixed(2)}`),
    part('place', String(placeOf(id))),
    part('name', name),
    part(
      'data',
      more > 0 ? `${text.slice(0, SHOWN_OF_ONE)} … ${more.toLocaleString('en')} more` : text,
    ),
  );
  return row;
}

function part(kind, text) {
  const node = document.createElement('span');
  node.className = kind;
  node.textContent = text;
  return node;
}
