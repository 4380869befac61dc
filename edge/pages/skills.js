/** The skills that can be run, as a list to choose from: one radio button each, so arrow keys work. */

import { priceOf } from './money.js';

const FILTER_FROM = 8;

export class SkillList {
  #host;
  #filter;
  #choose;
  #listed = '';
  #rows = new Map();
  /** The skills, by id. */
  found = new Map();
  /** The id of the one that is chosen; `null`: none. */
  chosen = null;

  /**
   * @param {Document} page Where `#skill-list` and `#filter` are.
   * @param {(id: string) => void} choose Told when another one is chosen by hand.
   */
  constructor(page, choose) {
    this.#host = page.querySelector('#skill-list');
    this.#filter = page.querySelector('#filter');
    this.#choose = choose;
    this.#filter.addEventListener('input', () => this.#sift());
  }

  /** Show what the registry lists. What has not changed is left alone: somebody may be at it. */
  show(skills) {
    const listed = JSON.stringify(skills);
    if (listed === this.#listed) return;
    this.#listed = listed;
    this.found = new Map(skills.map((skill) => [skill.id, skill]));
    const focused = document.activeElement?.closest?.('#skill-list label')?.dataset.skill;
    this.#rows = new Map(skills.map((skill) => [skill.id, this.#row(skill)]));
    this.#host.replaceChildren(...(skills.length ? this.#rows.values() : [none()]));
    this.#filter.hidden = skills.length < FILTER_FROM;
    this.#sift();
    this.mark(this.chosen);
    if (focused) this.#rows.get(focused)?.querySelector('input').focus();
  }

  /** Say something in place of the list. */
  say(text) {
    this.#listed = '';
    this.found = new Map();
    this.#rows = new Map();
    this.#host.replaceChildren(said('p', 'quiet', text));
  }

  /** Mark one as chosen. */
  mark(id) {
    this.chosen = id;
    for (const [own, row] of this.#rows) row.querySelector('input').checked = own === id;
  }

  #row(skill) {
    const row = document.createElement('label');
    row.className = 'skill';
    row.dataset.skill = skill.id;
    const radio = document.createElement('input');
    radio.type = 'radio';
    radio.name = 'skill';
    radio.value = skill.id;
    radio.addEventListener('change', () => {
      this.chosen = skill.id;
      this.#choose(skill.id);
    });
    const about = document.createElement('span');
    about.className = 'about';
    about.append(said('span', 'skill-name', skill.name || skill.id));
    const terms = said('span', 'terms', priceOf(skill.pricing));
    if (!skill.live) terms.prepend(said('span', 'asleep', 'no worker now'), ' · ');
    about.append(terms);
    if (skill.description) about.append(said('span', 'described', skill.description));
    row.append(radio, about);
    return row;
  }

  #sift() {
    const wanted = this.#filter.hidden ? '' : this.#filter.value.trim().toLowerCase();
    for (const [id, row] of this.#rows) {
      row.hidden = !`${id} ${row.textContent}`.toLowerCase().includes(wanted);
    }
  }
}

function none() {
  const note = document.createElement('div');
  note.className = 'note';
  note.append(
    said('p', '', 'No worker has announced a skill yet. As soon as one does, it is here:'),
    said('pre', '', 'MACHPAY_SKILLS=hello:skill \\\n  python -m workers'),
  );
  return note;
}

function said(tag, kind, text) {
  const node = document.createElement(tag);
  if (kind) node.className = kind;
  node.textContent = text;
  return node;
}
