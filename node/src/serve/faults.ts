/**
 * What is wrong with an input, in plain words, for the one who sent it: the words of an edge.
 *
 * The fields are named by their paths (`input.messages[2].role`). Their values are never repeated: they
 * may be long, or secret. The first fault in the order of the schema is told, and how many more there are.
 */

/** How many faults are looked for. */
const MOST = 10;

/** So far down a value faults are followed: each level may look at all below it. */
const DEEPEST = 40;

/** For how long faults are looked for, in ms: nobody else is served meanwhile. */
const WITHIN = 50;

/** In characters. */
const LONGEST_PATH = 200;
const LONGEST_WORD = 100;

const NAME = /^[A-Za-z_][A-Za-z0-9_-]{0,63}$/;

const TYPES: Readonly<Record<string, string>> = {
  string: 'a text',
  integer: 'a whole number',
  number: 'a number',
  boolean: 'true or false',
  object: 'an object',
  array: 'a list',
  null: 'null',
};

const SIZES: Readonly<Record<string, string>> = {
  minimum: 'must be at least {}',
  maximum: 'must be at most {}',
  exclusiveMinimum: 'must be more than {}',
  exclusiveMaximum: 'must be less than {}',
  multipleOf: 'must be a multiple of {}',
  minLength: 'must have at least {} characters',
  maxLength: 'must have at most {} characters',
  minItems: 'must have at least {} items',
  maxItems: 'must have at most {} items',
  minProperties: 'must have at least {} members',
  maxProperties: 'must have at most {} members',
  pattern: 'must match the pattern {}',
  format: 'must be of the format {}',
  const: 'must be {}',
};

const SIMPLE: ReadonlySet<string> = new Set([...Object.keys(SIZES), 'enum', 'uniqueItems']);

/** Tells whether a value is right: a contract. */
export interface Judge {
  readonly schema: Readonly<Record<string, unknown>>;
  /** Judges it by the schema at a JSON pointer. */
  takesAt(pointer: string, value: unknown): boolean;
  /** Judges it by one keyword alone, of those that need nothing beside them. */
  keyword(keyword: string, expected: unknown, value: unknown): boolean;
}

/** A path, and what is wrong there. */
type Fault = readonly [path: string, problem: string];
type Json = Readonly<Record<string, unknown>>;

/** A JSON Schema of which nothing is known. */
export interface Schema extends Json {
  readonly type?: unknown;
  readonly const?: unknown;
  readonly enum?: unknown;
  readonly items?: unknown;
  readonly prefixItems?: readonly unknown[];
  readonly $ref?: unknown;
}

/** A value that is known to be wrong, and the schema that says so. */
interface Place {
  readonly schema: Schema;
  /** Where the schema is. */
  readonly pointer: string;
  readonly value: unknown;
  /** Where the value is. */
  readonly path: string;
  /** How far down. */
  readonly depth: number;
}

/**
 * Say what is wrong with an input, in one sentence.
 *
 * @param judge - By whom it is wrong.
 * @param value - The input.
 */
export function explain(judge: Judge, value: unknown): string {
  const found = new Map<string, Fault>(); // two branches may say the same
  let looked = 0;
  for (const fault of new Search(judge).at('#', value, 'input', 0)) {
    found.set(JSON.stringify(fault), fault);
    if (++looked === 4 * MOST) {
      break;
    }
  }
  const [first] = found.values();
  if (first === undefined) {
    return 'input is not what the skill takes: see its input_schema.';
  }
  const [whole, problem] = first;
  const path = whole.length > LONGEST_PATH ? `${whole.slice(0, LONGEST_PATH)}...` : whole;
  const more = found.size - 1;
  const rest = more === 0 ? '' : `, and ${more < MOST ? more : 'many'} more`;
  return `${path} ${problem}${rest}.`;
}

/** Looks for what is wrong, from the top down. */
class Search {
  readonly #judge: Judge;
  readonly #until = performance.now() + WITHIN;

  constructor(judge: Judge) {
    this.#judge = judge;
  }

  /** Finds the faults of a value that is wrong by the schema at a pointer. */
  *at(pointer: string, value: unknown, path: string, depth: number): Generator<Fault> {
    const schema = resolve(this.#judge.schema, pointer);
    if (schema === false) {
      yield [path, 'is not allowed'];
      return;
    }
    let told = false;
    if (isObject(schema) && depth <= DEEPEST) {
      for (const fault of this.#faults({ schema, pointer, value, path, depth })) {
        told = true;
        yield fault;
      }
    }
    if (!told) {
      yield [path, 'is not what it must be'];
    }
  }

  *#faults(place: Place): Generator<Fault> {
    const { schema, value, path } = place;
    if ('type' in schema && !this.#judge.keyword('type', schema.type, value)) {
      // What else it is not follows from it.
      yield [path, `must be ${typesOf(schema.type)}`];
      return;
    }
    for (const [keyword, expected] of Object.entries(schema)) {
      if (SIMPLE.has(keyword)) {
        if (!this.#judge.keyword(keyword, expected, value)) {
          yield [path, said(keyword, expected)];
        }
      } else if (keyword === '$ref') {
        yield* this.#below(referred(expected), value, path, place);
      } else if (keyword === 'allOf' || keyword === 'anyOf' || keyword === 'oneOf') {
        yield* this.#branches(keyword, place);
      } else if (isObject(value)) {
        yield* this.#members(keyword, place, value);
      } else if (Array.isArray(value)) {
        yield* this.#items(keyword, place, value);
      }
    }
  }

  *#below(pointer: string, value: unknown, path: string, { depth }: Place): Generator<Fault> {
    if (!this.#over && !this.#judge.takesAt(pointer, value)) {
      yield* this.at(pointer, value, path, depth + 1);
    }
  }

  *#branches(keyword: 'allOf' | 'anyOf' | 'oneOf', place: Place): Generator<Fault> {
    const { value, path, pointer } = place;
    const depth = place.depth + 1;
    const schemas = place.schema[keyword] as readonly unknown[];
    const branches = schemas.map((_, index) => `${pointer}/${keyword}/${index}`);
    const wrong = branches.filter((branch) => !this.#judge.takesAt(branch, value));
    if (keyword === 'allOf') {
      for (const branch of wrong) {
        yield* this.at(branch, value, path, depth);
      }
    } else if (wrong.length === branches.length) {
      const meant = wrong.filter((branch) => this.#isMeant(branch, value));
      if (meant.length === 1) {
        yield* this.at(meant[0] as string, value, path, depth);
      } else {
        yield [path, noneOf(schemas)];
      }
    } else if (keyword === 'oneOf' && branches.length - wrong.length > 1) {
      yield [path, 'is more than one of the things of which it must be one'];
    }
  }

  /** Guesses whether a branch is the one that the sender had in mind, by its type and its tags. */
  #isMeant(pointer: string, value: unknown): boolean {
    let schema = resolve(this.#judge.schema, pointer);
    for (let step = 0; step < DEEPEST && isObject(schema) && '$ref' in schema; step++) {
      schema = resolve(this.#judge.schema, referred(schema.$ref));
    }
    if (!isObject(schema)) {
      return false;
    }
    const { type, properties = {} } = schema;
    if (type !== undefined && !this.#judge.keyword('type', type, value)) {
      return false;
    }
    return (
      !isObject(value) ||
      !Object.entries(properties as Json).some(([name, one]) => isAnotherTag(one, own(value, name)))
    );
  }

  *#members(keyword: string, place: Place, value: Json): Generator<Fault> {
    const { schema, pointer, path } = place;
    const expected = schema[keyword];
    if (keyword === 'required') {
      for (const name of expected as string[]) {
        if (!Object.hasOwn(value, name)) {
          yield [member(path, name), 'is required'];
        }
      }
    } else if (keyword === 'dependentRequired') {
      for (const [name, others] of Object.entries(expected as Record<string, string[]>)) {
        for (const other of Object.hasOwn(value, name) ? others : []) {
          if (!Object.hasOwn(value, other)) {
            yield [member(path, other), `is required beside ${word(name)}`];
          }
        }
      }
    } else if (keyword === 'properties') {
      for (const name of Object.keys(expected as Json)) {
        if (Object.hasOwn(value, name)) {
          const at = `${pointer}/properties/${token(name)}`;
          yield* this.#below(at, value[name], member(path, name), place);
        }
      }
    } else if (keyword === 'patternProperties') {
      for (const pattern of Object.keys(expected as Json)) {
        const at = `${pointer}/patternProperties/${token(pattern)}`;
        for (const name of this.#names(value).filter((one) => this.#matches(pattern, one))) {
          yield* this.#below(at, value[name], member(path, name), place);
        }
      }
    } else if (keyword === 'additionalProperties') {
      yield* this.#additional(place, value);
    }
  }

  *#additional(place: Place, value: Json): Generator<Fault> {
    const { properties = {}, patternProperties = {}, additionalProperties } = place.schema;
    const patterns = Object.keys(patternProperties as Json);
    for (const name of this.#names(value)) {
      if (this.#over) {
        return;
      }
      const known = Object.hasOwn(properties as Json, name);
      if (known || patterns.some((pattern) => this.#matches(pattern, name))) {
        continue;
      }
      if (additionalProperties === false) {
        yield [member(place.path, name), 'is not known to the skill'];
      } else {
        const at = `${place.pointer}/additionalProperties`;
        yield* this.#below(at, value[name], member(place.path, name), place);
      }
    }
  }

  *#items(keyword: string, place: Place, value: readonly unknown[]): Generator<Fault> {
    const { schema, pointer, path } = place;
    const { prefixItems = [] } = schema;
    if (keyword === 'prefixItems') {
      for (const [index, item] of value.slice(0, prefixItems.length).entries()) {
        yield* this.#below(`${pointer}/prefixItems/${index}`, item, `${path}[${index}]`, place);
      }
    } else if (keyword === 'items') {
      if (schema.items === false && value.length > prefixItems.length) {
        yield [path, said('maxItems', prefixItems.length)];
        return;
      }
      for (let index = prefixItems.length; index < value.length && !this.#over; index++) {
        yield* this.#below(`${pointer}/items`, value[index], `${path}[${index}]`, place);
      }
    }
  }

  #names(value: Json): string[] {
    return this.#over ? [] : Object.keys(value);
  }

  #matches(pattern: string, name: string): boolean {
    return this.#judge.keyword('pattern', pattern, name);
  }

  get #over(): boolean {
    return performance.now() > this.#until;
  }
}

/** Finds what is at a JSON pointer (`#/properties/prompt`); `undefined` where that leads nowhere. */
export function resolve(root: Json, pointer: string): unknown {
  let found: unknown = root;
  for (const part of pointer.split('/').slice(1)) {
    const key = part.replaceAll('~1', '/').replaceAll('~0', '~');
    found = typeof found === 'object' && found !== null ? (found as Json)[key] : undefined;
  }
  return found;
}

/** Reads a reference within a schema: a pointer, as URIs have it. */
export function referred(reference: unknown): string {
  try {
    return decodeURIComponent(String(reference));
  } catch {
    return String(reference);
  }
}

function token(key: string): string {
  return key.replaceAll('~', '~0').replaceAll('/', '~1');
}

function isObject(value: unknown): value is Schema {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function own(value: Json, name: string): unknown {
  return Object.hasOwn(value, name) ? value[name] : undefined;
}

/** Tells whether a member that tells branches apart has the word of another one. */
function isAnotherTag(schema: unknown, value: unknown): boolean {
  if (!isObject(schema)) {
    return false;
  }
  if ('const' in schema) {
    return schema.const !== value;
  }
  const { enum: words } = schema;
  return Array.isArray(words) && value !== undefined && value !== null && !words.includes(value);
}

function noneOf(branches: readonly unknown[]): string {
  const types = branches.map((one) => (isObject(one) ? one.type : undefined));
  if (types.every((one) => typeof one === 'string' && one !== 'object')) {
    return `must be ${typesOf([...new Set(types)])}`;
  }
  return `is none of the ${branches.length} things that it may be`;
}

function member(path: string, name: string): string {
  return NAME.test(name) ? `${path}.${name}` : `${path}[${word(name)}]`;
}

function typesOf(types: unknown): string {
  return [types]
    .flat()
    .map((name) => TYPES[String(name)] ?? String(name))
    .join(' or ');
}

function said(keyword: string, expected: unknown): string {
  if (keyword === 'uniqueItems') {
    return 'must not have the same item twice';
  }
  if (keyword === 'enum') {
    const words = (expected as readonly unknown[]).slice(0, 8).map(word).join(', ');
    return `must be one of ${words}${(expected as readonly unknown[]).length > 8 ? ', ...' : ''}`;
  }
  const text = (SIZES[keyword] as string).replace('{}', () => word(expected));
  return expected === 1 && /^m(in|ax)(Length|Items|Properties)$/.test(keyword)
    ? text.replace(/s$/, '')
    : text;
}

/** Writes a value as JSON, in ASCII and not too long. */
function word(value: unknown): string {
  const text = JSON.stringify(value).replace(
    /[^ -~]/g,
    (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}`,
  );
  return text.length <= LONGEST_WORD ? text : `${text.slice(0, LONGEST_WORD)}...`;
}
