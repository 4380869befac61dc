/** Reading a JSON Schema: as much of it as a form can show. */

const LONG_NAMES =
  /prompt|text|message|content|body|question|instruction|context|story|code|markdown/i;
const DEEPEST = 4;

/** What skills without a schema get: most take a prompt, as the guide's do. */
export const ASSUMED = {
  type: 'object',
  properties: { prompt: { type: 'string', title: 'Prompt' } },
};

/**
 * Resolve what stands between a schema and its meaning: references, a wrapping `allOf`, "or null".
 *
 * @returns {object} The schema itself, with `nullable` when null may stand in its place.
 */
export function resolved(schema, root) {
  let found = schema;
  let nullable = false;
  for (let turn = 0; turn < 20; turn++) {
    if (typeof found !== 'object' || found === null) return {};
    const [inner, orNull] = unwrapped(found, root);
    nullable ||= orNull;
    if (inner === null) return { ...found, nullable };
    const { $ref, allOf, anyOf, oneOf, type, ...own } = found;
    found = { ...inner, ...own };
  }
  return {};
}

function unwrapped(schema, root) {
  if (typeof schema.$ref === 'string') return [pointed(schema.$ref, root), false];
  if (schema.allOf?.length === 1) return [schema.allOf[0], false];
  const choices = schema.anyOf ?? schema.oneOf;
  if (Array.isArray(choices)) {
    const others = choices.filter((one) => one?.type !== 'null');
    if (others.length === 1) return [others[0], others.length < choices.length];
  }
  if (Array.isArray(schema.type)) {
    const types = schema.type.filter((one) => one !== 'null');
    if (types.length === 1) return [{ type: types[0] }, types.length < schema.type.length];
  }
  return [null, false];
}

function pointed(reference, root) {
  if (!reference.startsWith('#')) return {};
  const names = reference.slice(1).split('/').slice(1);
  const steps = names.map((name) =>
    decodeURIComponent(name).replace(/~1/g, '/').replace(/~0/g, '~'),
  );
  return steps.reduce((place, name) => place?.[name], root) ?? {};
}

/** Say which control a resolved schema gets; `json` is for all that no other can show. */
export function kindOf(schema, depth) {
  if ('const' in schema) return 'fixed';
  if (Array.isArray(schema.enum)) return 'choice';
  if (schema.anyOf || schema.oneOf || schema.allOf || schema.not) return 'json';
  switch (schema.type) {
    case 'string':
      return 'text';
    case 'integer':
    case 'number':
      return 'number';
    case 'boolean':
      return 'flag';
    case 'object':
      return schema.properties && depth < DEEPEST ? 'group' : 'json';
    case 'array':
      return depth < DEEPEST && !schema.prefixItems ? 'list' : 'json';
    default:
      return 'json';
  }
}

/** Whether people will write more than a line. */
export function isLong(name, schema) {
  if (schema.format || schema.pattern) return false;
  if (schema.maxLength !== undefined) return schema.maxLength > 120;
  return LONG_NAMES.test(name);
}

/** The name of a property, for people. */
export function titleOf(name, schema) {
  if (schema.title && schema.type !== 'object') return schema.title;
  const words = name
    .replace(/[_-]+/g, ' ')
    .replace(/([a-z])([A-Z])/g, '$1 $2')
    .trim();
  return words ? words[0].toUpperCase() + words.slice(1) : name;
}
