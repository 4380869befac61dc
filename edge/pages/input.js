/** The input of a run: a form made from the skill's schema, or JSON. The two say the same. */

import { Form, isShowable } from './form.js';
import { ASSUMED } from './schema.js';

export class Input {
  #fields;
  #jsonField;
  #json;
  #problem;
  #modes;
  #form = null;
  #kept = new Map();
  #skill = null;
  #changed;

  /**
   * @param {Document} page Where the fields are.
   * @param {() => void} changed Told when the input is another one.
   */
  constructor(page, changed) {
    this.#fields = page.querySelector('#fields');
    this.#jsonField = page.querySelector('#json-field');
    this.#json = page.querySelector('#json');
    this.#problem = page.querySelector('#input-problem');
    this.#modes = [...page.querySelectorAll('input[name=mode]')];
    this.#changed = changed;
    for (const mode of this.#modes) mode.addEventListener('change', () => this.#switch());
    this.#fields.addEventListener('input', () => this.#edited());
    this.#json.addEventListener('input', () => this.#edited());
  }

  /** Take the schema of a skill; what was given to it before is there again. */
  use(skill) {
    this.#skill = skill.id;
    const schema = skill.input_schema ?? ASSUMED;
    const showable = isShowable(schema);
    this.#form = showable ? new Form(this.#fields, schema) : null;
    this.#modes[0].disabled = !showable;
    if (!showable) this.#modes[1].checked = true;
    else if (!skill.input_schema) this.#fields.append(hint());
    const kept = this.#kept.get(skill.id);
    this.#json.value = kept ?? pretty(showable ? this.#form.read() : {});
    if (kept !== undefined) this.#fill();
    this.#show();
  }

  /** The input as JSON text; `null` while it is not an object. */
  text() {
    const text = this.#isForm() ? JSON.stringify(this.#form.read()) : this.#json.value.trim();
    return objectIn(text || '{}') === null ? null : text || '{}';
  }

  /** Look whether it can be run; if not, say why, and go there. */
  check() {
    this.refuse('');
    if (this.#isForm()) {
      const wrong = this.#fields.querySelector(':invalid:not(fieldset)');
      wrong?.reportValidity();
      return !wrong;
    }
    if (this.text() !== null) return true;
    this.refuse('The input is an object in JSON, like {"prompt": "A digital realm"}.');
    this.#json.focus();
    return false;
  }

  /** Say what is wrong with it; '': nothing. */
  refuse(text) {
    this.#problem.textContent = text;
    this.#problem.hidden = text === '';
    this.#json.setAttribute('aria-invalid', String(text !== ''));
  }

  #isForm() {
    return this.#form !== null && this.#modes[0].checked;
  }

  #edited() {
    this.refuse('');
    const text = this.text();
    if (text !== null)
      this.#kept.set(this.#skill, this.#isForm() ? pretty(JSON.parse(text)) : text);
    this.#changed();
  }

  #switch() {
    if (this.#isForm()) {
      if (!this.#fill()) {
        this.#modes[1].checked = true;
        this.refuse('The form can show it when it is an object in JSON.');
      }
    } else this.#json.value = pretty(this.#form?.read() ?? {});
    this.#show();
    this.#changed();
  }

  /** Fill the form in from the JSON. */
  #fill() {
    const input = objectIn(this.#json.value.trim() || '{}');
    if (input === null) return false;
    this.#form?.write(input);
    return true;
  }

  #show() {
    this.#fields.hidden = !this.#isForm();
    this.#jsonField.hidden = this.#isForm();
  }
}

function objectIn(text) {
  try {
    const value = JSON.parse(text);
    return typeof value === 'object' && value !== null && !Array.isArray(value) ? value : null;
  } catch {
    return null;
  }
}

function pretty(value) {
  return JSON.stringify(value, null, 2);
}

function hint() {
  const node = document.createElement('p');
  node.className = 'hint';
  node.textContent =
    'This skill declares no input schema. Most take a prompt; JSON says anything else.';
  return node;
}
