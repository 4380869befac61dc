/**
 * A form made from a JSON Schema.
 *
 * Each field is `{node, read(), write(value)}`; `read()` gives `undefined` for what is left out. What
 * a form can't show is edited as JSON, field by field.
 */

import { isLong, kindOf, resolved, titleOf } from './schema.js';

let count = 0;

/** A form of a whole input. */
export class Form {
  #group;
  #others = {};
  #names;

  /**
   * @param {HTMLElement} host Where its fields go, in place of what is there.
   * @param {object} schema The schema of the input: of an object.
   */
  constructor(host, schema) {
    const whole = resolved(schema, schema);
    this.#names = Object.keys(whole.properties ?? {});
    this.#group = propertiesOf(whole, schema, 0);
    host.replaceChildren(...this.#group.nodes);
  }

  /** Read the input. */
  read() {
    return { ...this.#others, ...this.#group.read() };
  }

  /** Fill it in; what it has no field for is kept. */
  write(input) {
    this.#others = {};
    for (const [name, value] of Object.entries(input)) {
      if (!this.#names.includes(name)) this.#others[name] = value;
    }
    this.#group.write(input);
  }
}

/** Whether a form can show the whole of what a schema asks for. */
export function isShowable(schema) {
  return kindOf(resolved(schema, schema), 0) === 'group';
}

function propertiesOf(schema, root, depth) {
  const required = new Set(schema.required ?? []);
  const fields = Object.entries(schema.properties ?? {}).map(([name, given]) => {
    const own = resolved(given, root);
    return [name, fieldOf(name, own, root, { depth, required: required.has(name) })];
  });
  return {
    nodes: fields.map(([, field]) => field.node),
    read: () => {
      const read = fields.map(([name, field]) => [name, field.read()]);
      return Object.fromEntries(read.filter(([, value]) => value !== undefined));
    },
    write: (input) => {
      for (const [name, field] of fields) field.write(input?.[name]);
    },
  };
}

function fieldOf(name, schema, root, { depth, required }) {
  const kind = kindOf(schema, depth);
  const field = MAKERS[kind](name, schema, root, { depth, required });
  if (schema.default !== undefined && schema.default !== null) field.write(schema.default);
  return field;
}

const MAKERS = { text, number, flag, choice, fixed, group, list, json };

function text(name, schema, _root, { required }) {
  const control = document.createElement(isLong(name, schema) ? 'textarea' : 'input');
  if (control.tagName === 'TEXTAREA') control.rows = 3;
  else control.type = 'text';
  if (schema.pattern) control.pattern = schema.pattern;
  if (schema.maxLength !== undefined) control.maxLength = schema.maxLength;
  if (schema.minLength !== undefined) control.minLength = schema.minLength;
  if (schema.examples?.length) control.placeholder = String(schema.examples[0]);
  control.required = required;
  return labelled(name, schema, control, {
    read: () => (control.value === '' && !required ? undefined : control.value),
    write: (value) => {
      control.value = value === undefined || value === null ? '' : String(value);
    },
  });
}

function number(name, schema, _root, { required }) {
  const control = document.createElement('input');
  control.type = 'number';
  control.step = schema.type === 'integer' ? '1' : 'any';
  control.min = schema.minimum ?? schema.exclusiveMinimum ?? '';
  control.max = schema.maximum ?? schema.exclusiveMaximum ?? '';
  control.required = required;
  control.addEventListener('input', () => {
    const large = schema.type === 'integer' && !Number.isSafeInteger(Number(control.value));
    control.setCustomValidity(
      large ? 'A whole number below 2^53; larger ones can be given as JSON.' : '',
    );
  });
  return labelled(name, schema, control, {
    read: () => (control.value === '' ? undefined : Number(control.value)),
    write: (value) => {
      control.value = value ?? '';
    },
  });
}

function flag(name, schema, _root, { required }) {
  const control = document.createElement('input');
  control.type = 'checkbox';
  let touched = required || schema.default !== undefined;
  control.addEventListener('change', () => {
    touched = true;
  });
  return labelled(name, schema, control, {
    read: () => (touched ? control.checked : undefined),
    write: (value) => {
      touched ||= value !== undefined;
      control.checked = value === true;
    },
  });
}

function choice(name, schema, _root, { required }) {
  const control = document.createElement('select');
  const values = schema.enum.filter((value) => value !== null);
  if (!required || schema.default === undefined)
    control.add(new Option(required ? 'Choose' : '–', ''));
  for (const [place, value] of values.entries()) {
    control.add(
      new Option(typeof value === 'string' ? value : JSON.stringify(value), String(place)),
    );
  }
  control.required = required;
  return labelled(name, schema, control, {
    read: () => (control.value === '' ? undefined : values[Number(control.value)]),
    write: (value) => {
      const place = values.findIndex((one) => JSON.stringify(one) === JSON.stringify(value));
      control.value = place < 0 ? '' : String(place);
    },
  });
}

function fixed(name, schema, _root, { required }) {
  const node = element('p', 'quiet', `${titleOf(name, schema)}: ${JSON.stringify(schema.const)}`);
  return { node, read: () => (required ? schema.const : undefined), write: () => {} };
}

function group(name, schema, root, { depth, required }) {
  const inner = propertiesOf(schema, root, depth + 1);
  const node = framed(name, schema, ...inner.nodes);
  const read = () => {
    const value = inner.read();
    return required || Object.keys(value).length ? value : undefined;
  };
  return { node, read, write: (value) => inner.write(value) };
}

function list(name, schema, root, { depth, required }) {
  const rows = element('div', 'rows');
  const fields = new Map();
  const own = resolved(schema.items ?? {}, root);
  const add = (value) => {
    const field = fieldOf(`${titleOf(name, schema)} ${fields.size + 1}`, own, root, {
      depth: depth + 1,
      required: own.type !== 'string',
    });
    const row = element('div', 'row');
    const remove = button('Remove', () => {
      fields.delete(row);
      row.remove();
      more.focus();
      more.dispatchEvent(new Event('input', { bubbles: true }));
    });
    remove.setAttribute('aria-label', `Remove ${titleOf(name, schema)} ${fields.size + 1}`);
    row.append(field.node, remove);
    fields.set(row, field);
    rows.append(row);
    if (value !== undefined) field.write(value);
    return row;
  };
  const more = button('Add', () => add().querySelector('input, textarea, select')?.focus());
  more.setAttribute('aria-label', `Add to ${titleOf(name, schema)}`);
  for (let left = schema.minItems ?? 0; left > 0; left--) add();
  return {
    node: framed(name, schema, rows, more),
    read: () => {
      const values = [...fields.values()].map(
        (field) => field.read() ?? (own.type === 'string' ? '' : null),
      );
      return values.length || required ? values : undefined;
    },
    write: (values) => {
      fields.clear();
      rows.replaceChildren();
      if (Array.isArray(values)) for (const value of values) add(value);
    },
  };
}

function json(name, schema, _root, { required }) {
  const control = document.createElement('textarea');
  control.className = 'code';
  control.rows = 3;
  control.spellcheck = false;
  control.placeholder = 'JSON';
  control.required = required;
  const value = () => (control.value.trim() === '' ? undefined : JSON.parse(control.value));
  control.addEventListener('input', () => {
    let problem = '';
    try {
      value();
    } catch (error) {
      problem = `Not JSON: ${error.message}`;
    }
    control.setCustomValidity(problem);
  });
  return labelled(name, schema, control, {
    read: () => {
      try {
        return value();
      } catch {
        return undefined; // it is marked as invalid, and nothing can be run
      }
    },
    write: (given) => {
      control.value = given === undefined ? '' : JSON.stringify(given, null, 2);
      control.setCustomValidity('');
    },
  });
}

function labelled(name, schema, control, access) {
  control.id = `field-${++count}`;
  const node = element('div', control.type === 'checkbox' ? 'field flag' : 'field');
  const label = element('label', '', titleOf(name, schema));
  label.htmlFor = control.id;
  if (control.required) label.append(element('span', 'needed', ' required'));
  node.append(label, control);
  if (schema.description) {
    const hint = element('p', 'hint', schema.description);
    hint.id = `${control.id}-hint`;
    control.setAttribute('aria-describedby', hint.id);
    node.append(hint);
  }
  return { node, ...access };
}

function framed(name, schema, ...content) {
  const frame = element('fieldset', 'group');
  frame.append(element('legend', '', titleOf(name, schema)));
  if (schema.description) frame.append(element('p', 'hint', schema.description));
  frame.append(...content);
  return frame;
}

function button(text, act) {
  const node = element('button', 'plain', text);
  node.type = 'button';
  node.addEventListener('click', act);
  return node;
}

function element(tag, kind = '', text = '') {
  const node = document.createElement(tag);
  if (kind) node.className = kind;
  node.textContent = text;
  return node;
}
