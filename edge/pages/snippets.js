/** The same run from code: what is printed can be pasted and run as it stands. */

/**
 * Write a run as a program.
 *
 * @param {'curl'|'python'|'node'} language In which language.
 * @param {{skill: string, input: string, cap: string, base: string, key: boolean}} run The skill's
 *   id, the input as JSON text, the most that it may cost, the server, and whether it wants a key.
 */
export function snippet(language, run) {
  return { curl, python, node }[language](run);
}

function curl({ skill, input, cap, base, key }) {
  const asked = cap ? { input: '', max_cost_usd: cap } : { input: '' };
  const body = JSON.stringify(asked).replace('""', () => input);
  return [
    `curl -N ${shell(`${base}/v1/skills/${encodeURIComponent(skill)}/stream`)}`,
    ...(key ? ['-H "Authorization: Bearer $MACHPAY_API_KEY"'] : []),
    "-H 'Content-Type: application/json'",
    `--data-raw ${shell(body)}`,
  ].join(' \\\n  ');
}

function python({ skill, input, cap, base, key }) {
  return `from machpay import MachPay

client = MachPay(base_url=${literal(base)})${key ? '  # with the variable MACHPAY_API_KEY' : ''}

stream = client.skills.stream(
    skill_id=${literal(skill)},
    input=${indented(pythonOf(read(input)), 4)},${cap ? `\n    max_cost_usd=${literal(cap)},` : ''}
)
for chunk in stream:
    print(chunk.text, end="", flush=True)

print()
print(stream.summary)`;
}

function node({ skill, input, cap, base, key }) {
  return `import { MachPay } from '@machpay/sdk';

const client = new MachPay({ baseUrl: ${literal(base)} });${key ? ' // with the variable MACHPAY_API_KEY' : ''}

const stream = await client.skills.stream({
  skillId: ${literal(skill)},
  input: ${indented(scriptOf(read(input)), 2)},${cap ? `\n  maxCostUsd: ${literal(cap)},` : ''}
});
for await (const chunk of stream) {
  process.stdout.write(chunk.text);
}

console.log();
console.log(stream.summary);`;
}

/** A number, as it was written. */
class Digits {
  constructor(source) {
    this.source = source;
  }
}

function read(input) {
  return JSON.parse(input, (_name, value, context) =>
    typeof value === 'number' ? new Digits(context?.source ?? String(value)) : value,
  );
}

/** Within single quotes a shell reads nothing but the next one. */
function shell(text) {
  return /^[\w./:@%+=-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`;
}

/** A JSON string is a string in Python and in JavaScript, too. */
function literal(text) {
  return JSON.stringify(text);
}

function pythonOf(value, depth = 0) {
  if (value === null) return 'None';
  if (value === true) return 'True';
  if (value === false) return 'False';
  return structured(value, depth, pythonOf, literal, 4);
}

function scriptOf(value, depth = 0) {
  // Written plainly, that name would set what the object inherits from.
  const name = (text) => (text === '__proto__' ? '["__proto__"]' : literal(text));
  return structured(value, depth, scriptOf, name, 2);
}

function structured(value, depth, write, name, width) {
  if (value instanceof Digits) return value.source;
  if (typeof value !== 'object' || value === null) return JSON.stringify(value);
  const isList = Array.isArray(value);
  const parts = isList
    ? value.map((one) => write(one, depth + 1))
    : Object.entries(value).map(([key, one]) => `${name(key)}: ${write(one, depth + 1)}`);
  const [open, close] = isList ? '[]' : '{}';
  if (parts.length === 0) return open + close;
  const short = `${open}${parts.join(', ')}${close}`;
  if (short.length <= 56 && !short.includes('\n')) return short;
  const margin = ' '.repeat(width * (depth + 1));
  return `${open}\n${margin}${parts.join(`,\n${margin}`)}\n${' '.repeat(width * depth)}${close}`;
}

function indented(text, by) {
  return text.replaceAll('\n', `\n${' '.repeat(by)}`);
}
