/**
 * An input that came as a query, where every value is a text: `?prompt=Hi&words=20&tags=a&tags=b`.
 *
 * A skill that says what it takes gets what it takes, where the text leaves no doubt: a number where the
 * schema has a number and no text, and so on. What is left a text is refused by the schema, in its own
 * words. Only the members of the input itself are looked at, and the items of lists in it.
 */

import { referred, resolve, type Schema } from './faults.js';

const INTEGER = /^-?(?:0|[1-9][0-9]{0,17})$/;
const NUMBER = /^-?(?:0|[1-9][0-9]{0,17})(?:\.[0-9]{1,30})?(?:[eE][+-]?[0-9]{1,2})?$/;

/** So many references and branches are followed. */
const DEEPEST = 16;

/**
 * Reads an input.
 *
 * @param pairs - Names and values, in order. A name that is there several times makes a list where the
 *   schema has one; else its last value counts.
 * @param schema - The skill's input schema; without one, all values are texts.
 */
export function readQuery(
  pairs: Iterable<readonly [string, string]>,
  schema: Schema | undefined,
): Record<string, unknown> {
  const given = new Map<string, string[]>();
  for (const [name, value] of pairs) {
    given.set(name, [...(given.get(name) ?? []), value]);
  }
  const { properties = {} } = (schema ?? {}) as { properties?: Schema };
  const reader = new Reader(schema ?? {});
  const members = [...given].map(([name, values]) => {
    const own = Object.hasOwn(properties, name) ? properties[name] : undefined;
    return [name, reader.member(values, own)] as const;
  });
  return Object.fromEntries(members);
}

/** Reads texts as what a schema has in their place. */
class Reader {
  readonly #root: Schema;

  /** @param root - Where references lead. */
  constructor(root: Schema) {
    this.#root = root;
  }

  /** Reads a member of the input from all values that it has. */
  member(values: readonly string[], schema: unknown): unknown {
    const lists = this.#lists(schema, DEEPEST);
    const types = this.#types(schema, DEEPEST);
    if (lists.length > 0 && (values.length > 1 || !types.has('string'))) {
      return values.map((value) => read(value, this.#types(lists[0], DEEPEST)));
    }
    return read(values.at(-1) ?? '', types);
  }

  /** Tells of which types a value may be; a text when the schema does not say. */
  #types(schema: unknown, depth: number): Set<string> {
    if (!isSchema(schema) || depth === 0) {
      return new Set(['string']);
    }
    if ('type' in schema) {
      return new Set([schema.type].flat().map(String));
    }
    if ('const' in schema || 'enum' in schema) {
      const words = 'enum' in schema ? (schema.enum as readonly unknown[]) : [schema.const];
      return new Set(words.map(typeOf));
    }
    const types = this.#branches(schema).flatMap((one) => [...this.#types(one, depth - 1)]);
    return new Set(types.length > 0 ? types : ['string']);
  }

  /** Finds the schemas of items, where a value may be a list. */
  #lists(schema: unknown, depth: number): unknown[] {
    if (!isSchema(schema) || depth === 0) {
      return [];
    }
    if ([schema.type].flat().includes('array')) {
      return [schema.items];
    }
    return this.#branches(schema).flatMap((one) => this.#lists(one, depth - 1));
  }

  #branches(schema: Schema): unknown[] {
    const { anyOf = [], oneOf = [], allOf = [], $ref } = schema;
    const branches = [anyOf, oneOf, allOf].flatMap((list) => list as unknown[]);
    return $ref === undefined ? branches : [...branches, resolve(this.#root, referred($ref))];
  }
}

function isSchema(value: unknown): value is Schema {
  return typeof value === 'object' && value !== null;
}

function read(text: string, types: ReadonlySet<string>): unknown {
  if (types.has('string')) {
    return text;
  }
  if (types.has('boolean') && (text === 'true' || text === 'false')) {
    return text === 'true';
  }
  const isNumber = types.has('number') && NUMBER.test(text);
  return isNumber || (types.has('integer') && INTEGER.test(text)) ? Number(text) : text;
}

function typeOf(value: unknown): string {
  return typeof value === 'boolean' || typeof value === 'number' ? typeof value : 'string';
}
