import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Decimal, estimateTokens, Pricing } from '../../src/pricing.js';

const cost = (prices: ConstructorParameters<typeof Pricing>[0], tokens: number, ms: number) =>
  new Pricing(prices).cost(tokens, ms).toString();

test('a cost has no dust of binary fractions', () => {
  assert.equal(cost({ baseUsd: 0.001, perTokenUsd: 0.00002 }, 7, 0), '0.00114');
  assert.equal(cost({ baseUsd: 0.1, perSecondUsd: 0.2 }, 0, 1500), '0.4');
  assert.equal(cost({ perTokenUsd: 0.1 }, 3, 0), '0.3');
  assert.equal(cost({ perTokenUsd: 1e-7 }, 1, 0), '0.0000001');
  assert.equal(cost({ baseUsd: '1e2' }, 0, 0), '100');
  assert.equal(cost({ baseUsd: 1e9, perTokenUsd: '1e9' }, 2 ** 53, 1), '9007199254740993000000000');
  assert.equal(cost({}, 5, 5), '0');
});

test('a cost is rounded half to even at 1e-9 USD, as the ledger does', () => {
  assert.equal(cost({ perTokenUsd: '0.0000000005' }, 1, 0), '0');
  assert.equal(cost({ perTokenUsd: '0.0000000005' }, 3, 0), '0.000000002');
  assert.equal(cost({ perTokenUsd: '0.0000000005' }, 5, 0), '0.000000002');
  assert.equal(cost({ perTokenUsd: '0.00000000050000000001' }, 1, 0), '0.000000001');
  assert.equal(cost({ perSecondUsd: '0.000001' }, 0, 1), '0.000000001');
  assert.equal(cost({ baseUsd: '0.9999999995' }, 0, 0), '1');
});

test('the largest counts are exact', () => {
  assert.equal(cost({ perTokenUsd: 0.000001 }, 2 ** 53, 0), '9007199254.740992');
});

test('a decimal is read as it is written', () => {
  for (const [given, written] of [
    [0, '0'],
    ['0.100', '0.1'],
    ['1.', '1'],
    [5e-324, `0.${'0'.repeat(323)}5`],
    ['12e-1', '1.2'],
  ] as const) {
    assert.equal(Decimal.parse(given)?.toString(), written);
  }
});

test('a price that is none is refused by name', () => {
  const none = [-1, Number.NaN, Infinity, '', 'x', '1e999999999', '0x10', true, null, {}];
  for (const price of [...none, 1e21, 1_000_000_001, '1000000000.000000000001', '1e10']) {
    const refused = /perTokenUsd must be a number of USD from 0 to 1000000000, not /;
    assert.throws(() => new Pricing({ perTokenUsd: price as number }), refused);
  }
  assert.throws(() => new Pricing({ base_usd: 1 } as object), /no 'base_usd'; it takes baseUsd/);
});

test('an estimate is one token per four characters, up', () => {
  assert.deepEqual([0, 1, 4, 5, 8].map(estimateTokens), [0, 1, 1, 2, 2]);
});
