/**
 * Holding inputs against what skills say they take, before anything runs or is billed.
 *
 * *That* an input is wrong is all that the validator is asked; *what* is wrong is found by `faults.ts`, in
 * the words of an edge.
 */

import { createRequire } from 'node:module';
import type { Ajv2020 } from 'ajv/dist/2020.js';
import type { FormatsPlugin } from 'ajv-formats';
import { invalidInput } from './errors.js';
import { explain, type Judge } from './faults.js';
import { Uniqueness } from './unique.js';

/** Loaded when a skill says what it takes, and not by those who import the SDK for its client. */
const load = createRequire(import.meta.url);

const ROOT = 'skill';

/** A JSON Schema (2020-12), ready to be applied. */
export class Contract implements Judge {
  readonly schema: Readonly<Record<string, unknown>>;
  readonly #ajv: Ajv2020;
  readonly #whole: (value: unknown) => boolean;
  readonly #uniqueness = new Uniqueness();
  readonly #parts = new Map<string, (value: unknown) => boolean>();

  /**
   * @param schema - The schema.
   * @throws TypeError - It is no JSON Schema, or refers to something outside of it.
   */
  constructor(schema: Readonly<Record<string, unknown>>) {
    const { $id, ...rest } = schema;
    this.schema = rest;
    const { Ajv2020 } = load('ajv/dist/2020.js') as typeof import('ajv/dist/2020.js');
    const formats = (load('ajv-formats') as { default: FormatsPlugin }).default;
    this.#ajv = new Ajv2020({ strict: false, ownProperties: true, logger: false });
    formats(this.#ajv);
    // Ajv compares pair by pair: a body of 1 MiB would stop the server for minutes.
    this.#ajv.removeKeyword('uniqueItems');
    this.#ajv.addKeyword({
      keyword: 'uniqueItems',
      type: 'array',
      schemaType: 'boolean',
      validate: (asked: boolean, items: readonly unknown[]) =>
        !asked || this.#uniqueness.has(items),
    });
    try {
      this.#ajv.addSchema(this.schema, ROOT);
      this.#whole = this.#compiled({ $ref: ROOT });
    } catch (error) {
      const [line = ''] = String(error instanceof Error ? error.message : error).split('\n');
      throw new TypeError(line.slice(0, 300));
    }
  }

  /**
   * Say what is wrong with an input, in one sentence.
   *
   * @returns `undefined` when it is what the schema says.
   */
  fault(input: unknown): string | undefined {
    return this.#whole(input) ? undefined : explain(this, input);
  }

  /**
   * Refuse an input that is not what the schema says.
   *
   * @throws ApiError - 422 `invalid_input`.
   */
  check(input: unknown): void {
    const fault = this.fault(input);
    if (fault !== undefined) {
      throw invalidInput(fault);
    }
  }

  takesAt(pointer: string, value: unknown): boolean {
    const fragment = pointer.split('/').map(encodeURIComponent).join('/').replace('%23', '#');
    return this.#part(pointer, () => ({ $ref: `${ROOT}${fragment}` }))(value);
  }

  keyword(keyword: string, expected: unknown, value: unknown): boolean {
    const key = JSON.stringify([keyword, expected]);
    return this.#part(key, () => ({ [keyword]: expected }))(value);
  }

  #part(key: string, schema: () => object): (value: unknown) => boolean {
    let part = this.#parts.get(key);
    if (part === undefined) {
      part = this.#compiled(schema());
      this.#parts.set(key, part);
    }
    return part;
  }

  #compiled(schema: object): (value: unknown) => boolean {
    const validate = this.#ajv.compile(schema);
    return (value) => {
      this.#uniqueness.begin();
      return validate(value) === true;
    };
  }
}

/**
 * Makes the contract of a skill.
 *
 * @throws TypeError - Its schema is none; the message names the skill.
 */
export function contractOf(id: string, schema: Readonly<Record<string, unknown>>): Contract {
  try {
    return new Contract(schema);
  } catch (error) {
    const why = error instanceof Error ? error.message : error;
    throw new TypeError(`skill '${id}': inputSchema: ${why}`);
  }
}
