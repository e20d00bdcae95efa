import assert from 'node:assert/strict';
import { test } from 'node:test';

import { JsonError, JsonReader } from '../src/json.js';
import { utf8 } from './build.js';

function parse(text) {
  const reader = new JsonReader(typeof text === 'string' ? utf8(text) : text);
  const value = reader.value();
  reader.end();
  return value;
}

test('integers and floats stay apart', () => {
  assert.deepEqual(parse('[1,1.0,-0,1e2,123456789012345678901234567890]'), [1n, 1, 0n, 100, 123456789012345678901234567890n]);
  assert.ok(Object.is(parse('-0.0'), -0));
  assert.equal(parse('5e-324'), 5e-324);
  assert.equal(parse('1e-400'), 0);
});

test('text with escapes', () => {
  assert.equal(parse('"\\ud83d\\ude00 \\u00e9\\n\\/"'), '😀 é\n/');
});

test('objects keep their order and any name', () => {
  const value = parse('{"b":1,"a":2,"__proto__":3}');
  assert.deepEqual([...value], [['b', 1n], ['a', 2n], ['__proto__', 3n]]);
});

const REFUSED = {
  'repeated name': '{"a":1,"\\u0061":2}',
  'lone high surrogate': '"\\ud800"',
  'high surrogate before a character': '"\\ud800x"',
  'lone low surrogate': '"\\udc00"',
  'two high surrogates': '"\\ud800\\ud800"',
  'overflow': '1e400',
  'NaN': 'NaN',
  'Infinity': '-Infinity',
  'leading zero': '01',
  'leading plus': '+1',
  'no digit after the point': '1.',
  'no digit before the point': '.5',
  'comma at the end of an array': '[1,]',
  'comma at the end of an object': '{"a":1,}',
  'comment': '[1/**/]',
  'single quotes': "{'a':1}",
  'control character': '"\t"',
  'unknown escape': '"\\x"',
  'escape of three digits': '"\\u12"',
  'text without an end': '"abc',
  'something after': '1 1',
  'nothing': '',
  'too many digits': '1'.repeat(4301),
  'non-breaking space': '[1,\u00a01]',
  'not UTF-8': Uint8Array.of(0x22, 0xff, 0x22),
  'surrogate in UTF-8': Uint8Array.of(0x22, 0xed, 0xa0, 0x80, 0x22),
  'byte order mark': Uint8Array.of(0xef, 0xbb, 0xbf, 0x31),
};

for (const [what, text] of Object.entries(REFUSED)) {
  test(`refuses: ${what}`, () => assert.throws(() => parse(text), JsonError));
}

test('64 levels and 4300 digits are allowed, one more is not', () => {
  parse('['.repeat(64) + ']'.repeat(64));
  assert.throws(() => parse('['.repeat(65) + ']'.repeat(65)), JsonError);
  assert.throws(() => parse('['.repeat(1e6)), JsonError);
  assert.equal(parse('1'.repeat(4300)).toString().length, 4300);
});

test('what is skipped is checked all the same', () => {
  const skip = (text) => new JsonReader(utf8(text)).value(false);
  assert.throws(() => skip('{"a":[{"b":1,"b":2}]}'), JsonError);
  assert.throws(() => skip('"\\ud800"'), JsonError);
});
