import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Contract } from '../../src/serve/contracts.js';
import { MemoryExecutions } from '../../src/serve/memory.js';
import { readQuery } from '../../src/serve/query.js';
import { Skill } from '../../src/skill.js';

const MESSAGE = {
  type: 'object',
  properties: {
    role: { enum: ['assistant', 'user'] },
    text: { type: 'string', minLength: 1 },
  },
  required: ['role', 'text'],
};

const SCHEMA = {
  $id: 'https://example.com/prompt',
  type: 'object',
  properties: {
    prompt: { type: 'string' },
    heat: { anyOf: [{ type: 'number', maximum: 2 }, { type: 'null' }] },
    messages: { type: 'array', items: { $ref: '#/$defs/Message' } },
    reply_to: { $ref: '#' },
    pair: { type: 'array', prefixItems: [{ type: 'integer' }, { const: 'x' }], items: false },
    shape: {
      oneOf: [
        { type: 'object', properties: { kind: { const: 'dot' }, x: { type: 'number' } } },
        { type: 'object', properties: { kind: { const: 'line' }, to: { type: 'number' } } },
      ],
    },
    'a/b~c d%': { type: 'boolean' },
    mail: { type: 'string', format: 'email' },
    set: { type: 'array', uniqueItems: true, maxItems: 1 },
  },
  patternProperties: { '^x-': { type: 'integer' } },
  dependentRequired: { mail: ['heat'] },
  required: ['prompt'],
  additionalProperties: false,
  $defs: { Message: MESSAGE },
};

test('what is wrong is said in the words of an edge, and no value comes back', () => {
  const contract = new Contract(SCHEMA);
  const user = { role: 'user', text: 'a' };
  for (const [more, message] of [
    [{ prompt: 1 }, 'input.prompt must be a text.'],
    [{ prompt: undefined }, 'input.prompt is required.'],
    [{ heat: 3, c: 1 }, 'input.heat must be at most 2, and 1 more.'],
    [{ heat: 'secret' }, 'input.heat must be a number or null.'],
    [{ 'é b': 1 }, 'input["\\u00e9 b"] is not known to the skill.'],
    [{ messages: {} }, 'input.messages must be a list.'],
    [
      { messages: [user, { role: 1, text: '' }] },
      'input.messages[1].role must be one of "assistant", "user", and 1 more.',
    ],
    [
      { messages: [{ ...user, text: '' }] },
      'input.messages[0].text must have at least 1 character.',
    ],
    [{ messages: Array(99).fill(1) }, 'input.messages[0] must be an object, and many more.'],
    [{ reply_to: { prompt: 1 } }, 'input.reply_to.prompt must be a text.'],
    [{ pair: [1, 'y'] }, 'input.pair[1] must be "x".'],
    [{ pair: [1, 'x', 2] }, 'input.pair must have at most 2 items.'],
    [{ shape: { kind: 'line', to: 'secret' } }, 'input.shape.to must be a number.'],
    [{ shape: { kind: 'none' } }, 'input.shape is none of the 2 things that it may be.'],
    [{ shape: {} }, 'input.shape is more than one of the things of which it must be one.'],
    [{ 'a/b~c d%': 1 }, 'input["a/b~c d%"] must be true or false.'],
    [{ 'x-y': 'secret' }, 'input.x-y must be a whole number.'],
    [{ mail: 'secret' }, 'input.mail must be of the format "email", and 1 more.'],
    [{ mail: 'a@b.c' }, 'input.heat is required beside "mail".'],
    [{ set: [1, 1] }, 'input.set must not have the same item twice, and 1 more.'],
  ] as const) {
    const input = JSON.parse(JSON.stringify({ prompt: '', ...more }));
    assert.equal(contract.fault(input), message);
  }
  const right = { prompt: '', heat: null, messages: [user], reply_to: { prompt: '' }, 'x-y': 1 };
  assert.equal(contract.fault(right), undefined);
  const said = contract.fault({ prompt: '', ['k'.repeat(9999)]: 1, heat: 'secret'.repeat(999) });
  assert.ok(said !== undefined && said.length < 400 && !said.includes('secret'), said);
});

test('what an object inherits is none of its members', () => {
  const contract = new Contract({ type: 'object', required: ['constructor'] });
  assert.equal(contract.fault({}), 'input.constructor is required.');
  const input = JSON.parse('{"__proto__": 1}');
  const closed = new Contract({ type: 'object', additionalProperties: false });
  assert.equal(closed.fault(input), 'input.__proto__ is not known to the skill.');
});

test('a schema that is none is refused before anything is served', () => {
  for (const [schema, told] of [
    [{ type: 'object', required: 'x' }, /schema is invalid.*required must be array/],
    [{ type: 'object', properties: { a: { $ref: '#/$defs/no' } } }, /can't resolve reference/],
    [{ type: 'object', properties: { a: { $ref: 'https://a/b' } } }, /can't resolve reference/],
    [{ type: 'object', properties: { a: { pattern: '(' } } }, /Invalid regular expression/],
    [{ type: 'object', $schema: 'http://json-schema.org/draft-07/schema#' }, /no schema with key/],
  ] as [Record<string, unknown>, RegExp][]) {
    const skill = new Skill({ id: 'x', inputSchema: schema });
    skill.streamHandler(() => 'x');
    assert.throws(
      () => new MemoryExecutions([skill]),
      (error: Error) => {
        assert.match(error.message, told);
        assert.match(error.message, /^skill 'x': inputSchema: /);
        return error instanceof TypeError;
      },
    );
  }
});

test('a query is read as what the schema has, where that leaves no doubt', () => {
  const schema = {
    properties: {
      words: { type: 'integer' },
      heat: { anyOf: [{ type: 'number' }, { type: 'null' }] },
      sure: { $ref: '#/$defs/sure' },
      tags: { type: 'array', items: { type: 'integer' } },
      level: { enum: [1, 2] },
      either: { type: ['string', 'integer'] },
    },
    $defs: { sure: { type: 'boolean' } },
  };
  const read = (query: string) => readQuery([...new URLSearchParams(query)], schema);
  assert.deepEqual(read('words=12&heat=1.5e1&sure=true&tags=1&level=2&either=3&other=4'), {
    words: 12,
    heat: 15,
    sure: true,
    tags: [1],
    level: 2,
    either: '3',
    other: '4',
  });
  const doubtful = { words: '01', heat: 'NaN', sure: 'yes', tags: ['1', 'x'].map((one) => one) };
  assert.deepEqual(read('words=01&heat=NaN&sure=yes&tags=1&tags=x'), {
    ...doubtful,
    tags: [1, 'x'],
  });
  assert.deepEqual(
    readQuery(
      [
        ['a', '1'],
        ['a', '2'],
      ],
      undefined,
    ),
    { a: '2' },
  );
});

test('many items that should be unique cost what they cost one by one', () => {
  const contract = new Contract({ properties: { a: { uniqueItems: true } } });
  const many = Array.from({ length: 20_000 }, (_, index) => ({ n: index, of: [index] }));
  const cpu = (work: () => void): number => {
    const begun = process.cpuUsage();
    work();
    const { user, system } = process.cpuUsage(begun);
    return user + system;
  };
  const together = cpu(() => assert.equal(contract.fault({ a: many }), undefined));
  const single = cpu(() => {
    for (const one of many) {
      contract.fault({ a: [one, 1] });
    }
  });
  // One by another there are 200 million pairs: a minute.
  assert.ok(together < 20 * single, `${together} and ${single} µs`);
});

test('unique is meant as JSON Schema has it', () => {
  const contract = new Contract({ properties: { a: { uniqueItems: true } } });
  for (const twice of [
    [1, 1.0],
    [0, -0],
    [
      { b: 1, a: [2] },
      { a: [2], b: 1 },
    ],
    [null, null],
    [[[1]], 3, [[1]]],
  ]) {
    assert.equal(contract.fault({ a: twice }), 'input.a must not have the same item twice.');
  }
  for (const once of [
    [1, true, '1', [1], { 1: 1 }],
    [0, false, null, '', [], {}],
    [[], [[]], [[], []]],
    [{ a: 1 }, { a: 2 }, { b: 1 }, ['a', 1], { '': ['a', 1] }],
    JSON.parse('[{"__proto__": 1}, {"__proto__": 2}, {}]'),
  ]) {
    assert.equal(contract.fault({ a: once }), undefined);
  }
  assert.equal(
    new Contract({ properties: { a: { uniqueItems: false } } }).fault({ a: [1, 1] }),
    undefined,
  );
});
