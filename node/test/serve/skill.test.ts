import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Skill, SkillInput, type SkillOptions } from '../../src/skill.js';

test('a skill has the defaults of one in Python', () => {
  const skill = new Skill({ id: 'x' });
  const { id, name, description, streaming, timeout, idleTimeout, queueTimeout, maxOutputBytes } =
    skill;
  assert.deepEqual(
    [id, name, description, streaming, timeout, idleTimeout, queueTimeout, maxOutputBytes],
    ['x', 'x', '', true, 3600, 300, 300, 16 << 20],
  );
  assert.equal(skill.pricing.cost(1000, 1000).toString(), '0');
  assert.equal(new Skill({ id: 'x', priceUsd: 0.01 }).pricing.cost(9, 9).toString(), '0.01');
});

test('an option that is not what it must be is named', () => {
  for (const [options, told] of [
    [{ id: '' }, /a skill's id is/],
    [{ id: '-x' }, /a skill's id is/],
    [{ id: 'x\n' }, /a skill's id is/],
    [{ id: 5 }, /a skill's id is/],
    [{}, /a skill's id is/],
    [{ price_usd: 1 }, /skill 'x' has no 'price_usd'; it takes id, name/],
    [{ priceUsd: 1, pricing: {} }, /priceUsd or pricing, not both/],
    [{ priceUsd: -1 }, /priceUsd must be a number of USD from 0/],
    [{ priceUsd: 1_000_000_001 }, /priceUsd must be a number of USD from 0 to 1000000000, not/],
    [{ pricing: { base_usd: 1 } }, /no 'base_usd'/],
    [{ pricing: null }, /pricing is an object/],
    [{ name: 5 }, /name is a string/],
    [{ inputSchema: null }, /inputSchema is a JSON Schema/],
    [{ inputSchema: { type: 'string' } }, /inputSchema must have type: 'object'/],
    [{ inputSchema: { type: 'object', title: 'é'.repeat(33_000) } }, /inputSchema is over 65536/],
    [{ streaming: 'yes' }, /streaming is true or false/],
    ...['timeout', 'idleTimeout', 'queueTimeout', 'maxOutputBytes'].flatMap((key) =>
      [0, -1, Number.NaN, Infinity, '5', true].map((value) => [{ [key]: value }, RegExp(key)]),
    ),
  ] as [object, RegExp][]) {
    const given = Object.keys(options).length === 0 ? {} : { id: 'x', ...options };
    assert.throws(() => new Skill(given as SkillOptions), { name: 'TypeError', message: told });
  }
});

test('a skill has one handler, and a skill without any is not served', async () => {
  const skill = new Skill({ id: 'x' });
  await assert.rejects(skill.serve({ port: 0 }), /skill 'x' has no handler/);
  assert.throws(() => skill.streamHandler('x' as never), /a handler is a function/);
  const handler = skill.streamHandler(() => 'x');
  assert.equal(skill.handler, handler);
  assert.throws(() => skill.streamHandler(() => 'y'), /has a handler already/);
});

test("a schema is the skill's own", () => {
  const inputSchema = { type: 'object', properties: { prompt: { type: 'string' } } };
  const skill = new Skill({ id: 'x', inputSchema });
  inputSchema.properties.prompt.type = 'number';
  assert.deepEqual(skill.inputSchema, {
    type: 'object',
    properties: { prompt: { type: 'string' } },
  });
  assert.equal(new Skill({ id: 'x' }).inputSchema, null);
});

test('an input can be made to test a handler with', () => {
  const input = new SkillInput({ prompt: 'x' }, { executionId: 'mine' });
  assert.deepEqual([input.data, input.executionId, input.attempt], [{ prompt: 'x' }, 'mine', 1]);
  assert.equal(input.signal.aborted, false);
});
