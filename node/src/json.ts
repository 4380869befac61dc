/** Checked members of decoded JSON: what a server sends is not believed to have its shape. */

interface Kinds {
  string: string;
  boolean: boolean;
  number: number;
  integer: number;
}

type Kind = keyof Kinds;

/** An object as JSON has it. */
export type JsonObject = Readonly<Record<string, unknown>>;

/**
 * Take a value for an object.
 *
 * @throws TypeError - It is none.
 */
export function record(value: unknown, what: string): JsonObject {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw new TypeError(`${what} is not an object`);
  }
  return value as JsonObject;
}

/**
 * Take a value for an array of objects.
 *
 * @throws TypeError - It is none.
 */
export function records(value: unknown, what: string): JsonObject[] {
  if (!Array.isArray(value)) {
    throw new TypeError(`${what} is not an array`);
  }
  return value.map((member, index) => record(member, `${what}[${index}]`));
}

/**
 * Return a member that has to be there.
 *
 * @throws TypeError - It is not there, or of another type.
 */
export function hasType<K extends Kind>(object: JsonObject, key: string, kind: K): Kinds[K] {
  const value = Object.hasOwn(object, key) ? object[key] : undefined;
  const right =
    kind === 'integer'
      ? Number.isInteger(value)
      : // JSON.parse makes Infinity of 1e999.
        kind === 'number'
        ? Number.isFinite(value)
        : typeof value === kind;
  if (!right) {
    throw new TypeError(`'${key}' is not of type ${kind}`);
  }
  return value as Kinds[K];
}

/**
 * Return a member, or a default when it is not there.
 *
 * @throws TypeError - It is of another type.
 */
export function optional<K extends Kind, D>(
  object: JsonObject,
  key: string,
  kind: K,
  byDefault: D,
): Kinds[K] | D {
  return Object.hasOwn(object, key) ? hasType(object, key, kind) : byDefault;
}

/**
 * Return a member that may also be `null`, which is what it is when it is not there.
 *
 * @throws TypeError - It is of another type.
 */
export function nullable<K extends Kind>(
  object: JsonObject,
  key: string,
  kind: K,
): Kinds[K] | null {
  return object[key] === null ? null : optional(object, key, kind, null);
}
