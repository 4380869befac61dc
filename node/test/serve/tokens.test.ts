import assert from 'node:assert/strict';
import { test } from 'node:test';
import { BadCount, LONGEST_WORD, TokenCount } from '../../src/serve/tokens.js';
import { hasLoneSurrogate } from '../../src/serve/wire.js';

/** As BPE tokenizers split: a word with the space before it, and any other character. */
const PIECES = /\s?\p{L}+|\s+(?!\S)|\s|[^\s\p{L}]/gu;
const tokens = (text: string): number => text.match(PIECES)?.length ?? 0;

function counting(tokenizer = tokens) {
  const pieces: string[] = [];
  const count = new TokenCount((text) => {
    pieces.push(text);
    return tokenizer(text);
  });
  return { count, pieces };
}

const TEXT = "It's  a\n\nlong day, isn't it? 𝒜𝒷 é 日本語 x1 2 - ok\t";

test('a count is exact at every chunk, however the text is cut', () => {
  for (const size of [1, 2, 3, 5, 8, 100]) {
    const { count } = counting();
    for (let at = 0; at < TEXT.length; at += size) {
      count.add(TEXT.slice(at, at + size));
      assert.equal(count.total(), tokens(TEXT.slice(0, at + size)), `${size} ${at}`);
      assert.ok(count.settled <= count.total() && count.total() <= count.most);
    }
  }
});

test('a tokenizer gets each word once, and no character in halves', () => {
  const { count, pieces } = counting();
  for (const character of TEXT) {
    count.add(character);
  }
  count.total();
  assert.equal(pieces.join(''), TEXT);
  assert.deepEqual(pieces.slice(0, 4), ["It's", '  a', '\n\nlong', ' day']);
});

test('what has no end of a word is cut all the same, and so is what is long', () => {
  for (const text of [
    '\u{1f600}'.repeat(3 * LONGEST_WORD),
    'word '.repeat(10_000),
    `a${'.'.repeat(50_000)}`,
  ]) {
    for (const size of [777, text.length]) {
      const { count, pieces } = counting((piece) => piece.length);
      for (let at = 0; at < text.length; at += size) {
        count.add(text.slice(at, at + size));
      }
      assert.equal(count.total(), text.length);
      assert.equal(pieces.join(''), text);
      assert.ok(Math.max(...pieces.map(({ length }) => length)) <= LONGEST_WORD);
      assert.ok(size === 777 || !pieces.some(hasLoneSurrogate));
    }
  }
});

test('a copy goes on by itself', () => {
  const { count } = counting();
  count.add('one tw');
  const copy = count.copy();
  count.add('o three');
  assert.deepEqual([copy.total(), count.total()], [2, 3]);
});

test('what is no number of tokens is refused', () => {
  for (const given of [-1, 1.5, Number.NaN, Infinity, 2 ** 53, '3', undefined, null, true]) {
    const { count } = counting(() => given as number);
    assert.throws(() => count.add('a b'), { message: /an integer from 0 to 2\*\*53 - 1, not/ });
  }
  const { count } = counting(() => 2 ** 53 - 1);
  count.add('a ');
  assert.throws(() => count.add('b '), BadCount);
  const failing = counting(() => {
    throw new RangeError('no');
  });
  failing.count.add('a');
  assert.throws(() => failing.count.total(), { name: 'Error', message: 'the tokenizer threw' });
});
