import assert from 'node:assert/strict';
import { test } from 'node:test';

import { ScfError } from '../src/errors.js';
import { noExtension, treeExtension } from '../src/extensions.js';
import { MessagePackReader } from '../src/msgpack.js';
import * as nodes from '../src/nodes.js';
import { bytesOf, concat, Ext, pack, utf8 } from './build.js';

function read(bytes, { extension = treeExtension, maxValues = 1000 } = {}) {
  const reader = new MessagePackReader(bytes, { maxValues, extension });
  const value = reader.value(1);
  assert.equal(reader.at, bytes.length);
  return value;
}

function refuses(code, bytes, options) {
  assert.throws(() => read(bytes, options), (error) => error instanceof ScfError && error.code === code);
}

test('every encoding of an integer', () => {
  const one = ['01', 'cc01', 'cd0001', 'ce00000001', 'cf0000000000000001', 'd001', 'd10001', 'd200000001', 'd30000000000000001'];
  for (const text of one) assert.equal(read(bytesOf(text)), 1n);
  assert.equal(read(bytesOf('cfffffffffffffffff')), 2n ** 64n - 1n);
  assert.equal(read(bytesOf('d38000000000000000')), -(2n ** 63n));
  assert.equal(read(bytesOf('e0')), -32n);
});

test('floats keep all bits', () => {
  assert.equal(read(bytesOf('ca3fc00000')), 1.5);
  assert.ok(Object.is(read(bytesOf('cb8000000000000000')), -0));
  assert.ok(Number.isNaN(read(bytesOf('cb7ff8000000000000'))));
  assert.equal(read(bytesOf('cb7ff0000000000001')).bits, 0x7ff0000000000001n);
  assert.equal(read(bytesOf('caffc00001')).bits, 0xfff8000020000000n);
});

test('what breaks the profile', () => {
  const bad = {
    'two equal keys': '820101 0102',
    'two equal keys of other encodings': '8201 01 cc01 02',
    'two equal texts of other encodings': '82a161 01 d90161 02',
    'a float as key': '81cb000000000000000001',
    'nil as key': '81c001',
    'an array as key': '819001',
    'an extension as key': '81d6010000000001',
    'text that is not UTF-8': 'a1ff',
    'a surrogate in text': 'a3eda080',
    'an overlong encoding': 'a2c080',
    'the byte c1': '91c1',
    'too few bytes of text': 'a361',
    'too few elements': '9201',
    'a huge array': 'ddffffffff',
    'a huge map': 'dfffffffff',
    'a huge bin': 'c6ffffffff',
    'elements within elements that cannot all be there': '93 93 93 01',
  };
  for (const [what, text] of Object.entries(bad)) assert.throws(() => read(bytesOf(text)), { code: 'manifest.syntax' }, what);
});

test('text and integer keys differ', () => {
  const map = read(bytesOf('82a13101 0102'));
  assert.equal(map.get('1'), 1n);
  assert.equal(map.get(1n), 2n);
});

test('large maps find equal keys and their values', () => {
  const map = new Map(Array.from({ length: 40 }, (_, i) => [`k${i}`, i]));
  const value = read(pack(map));
  assert.equal(value.get('k39'), 39n);
  assert.equal(value.get('k40'), undefined);
  refuses('manifest.syntax', concat(bytesOf('de0014'), ...Array.from({ length: 20 }, (_, i) => pack(i % 19)).map((key) => concat(key, pack(0)))));
});

test('128 levels, and extensions are none of their own', () => {
  read(concat(...Array.from({ length: 127 }, () => bytesOf('91')), bytesOf('90')));
  refuses('manifest.syntax', concat(...Array.from({ length: 128 }, () => bytesOf('91')), bytesOf('90')));
  const tuples = (count) => {
    let nested = pack([]);
    for (let i = 0; i < count; i += 1) nested = concat(bytesOf('91'), pack(new Ext(2, nested)));
    return nested;
  };
  read(tuples(127));
  refuses('manifest.syntax', tuples(128));
});

test('extensions in extensions do not nest without a level', () => {
  let payload = pack([]);
  for (let i = 0; i < 20000; i += 1) payload = pack(new Ext(2, payload));
  refuses('tree.schema', payload);
});

test('the number of values is bounded', () => {
  refuses('limit.exceeded', pack(new Array(20).fill(0)), { maxValues: 19 });
  read(pack(new Array(20).fill(0)), { maxValues: 20 });
  refuses('limit.exceeded', pack(new Ext(2, pack(new Array(20).fill(0)))), { maxValues: 19 });
});

test('examples of extensions', () => {
  assert.equal(read(bytesOf('d60107000000')).number, 7);
  assert.deepEqual(read(bytesOf('d6029201a161')), new nodes.Tuple([1n, 'a']));
  assert.deepEqual(read(bytesOf('d803000000000000f03f00000000000000c0')), new nodes.Complex(1, -2));
  assert.equal(read(bytesOf('c70904000000000000000001')), 2n ** 64n);
  assert.equal(read(bytesOf('c70904ffffffffffffff7fff')), -(2n ** 63n) - 1n);
  assert.deepEqual(read(bytesOf('d8059527576900000000 00000000 100e0000')), new nodes.Timestamp(1767319445n, 0, 3600));
  assert.deepEqual(read(bytesOf('d805a535576900000000 0065cd1d 00000080')), new nodes.Timestamp(1767323045n, 500000000, null));
  assert.deepEqual(read(bytesOf('c71f0683a461786973a472616e6ba473697a6502a676616c7565738200a16101a162')), new nodes.Indexed('rank', ['a', 'b']));
  assert.deepEqual(read(bytesOf('c7050792a161a162')), new nodes.SetNode(['a', 'b']));
  const flat = read(bytesOf('c7220882a5696e6e657281a171d60103000000aa6174747269627574657381a46269747308'));
  assert.equal(flat.inner.get('q').number, 3);
  assert.equal(flat.attributes.get('bits'), 8n);
  assert.deepEqual(read(bytesOf('d60942463136')), new nodes.DtypeNode('BF16'));
});

test('payloads that are refused', () => {
  const time = (tail) => new Ext(5, bytesOf(`0000000000000000${tail}`));
  const bad = [
    new Ext(0, bytesOf('00')), new Ext(10, bytesOf('00')), new Ext(-1, bytesOf('00000000')),
    new Ext(1, bytesOf('0000')), new Ext(2, pack(1)), new Ext(2, pack({ a: 1 })), new Ext(3, bytesOf('00')),
    new Ext(4, bytesOf('0000000000000000')), new Ext(4, bytesOf('ff00000000000000 00')), new Ext(4, bytesOf('00000000000000000100')),
    new Ext(4, bytesOf('ffffffffffffff7fffff')), new Ext(4, new Uint8Array(4097).fill(1)),
    time('00ca9a3b00000000'), time('00000000 80510100'), time('00000000 80aefeff'), time('00000000 010000'),
    new Ext(6, pack({ axis: 'r', size: 2, values: new Map([[0, 1]]) })), new Ext(6, pack({ axis: 'r', size: 1, values: new Map([[1, 1]]) })),
    new Ext(6, pack({ axis: 'r', size: 0, values: {} })), new Ext(6, pack({ axis: 1, size: 1, values: new Map([[0, 1]]) })),
    new Ext(6, pack({ axis: 'r', size: 1, values: new Map([[0, 1]]), more: 1 })), new Ext(6, pack({ axis: 'r', size: 1, values: ['a'] })),
    new Ext(7, pack(['b', 'a'])), new Ext(7, pack(['a', 'a'])), new Ext(7, pack([1, 'a'])), new Ext(7, pack([2, 1])), new Ext(7, pack([null])),
    new Ext(7, pack(['\u{10000}', '\uffff'])), new Ext(7, pack([new Ext(4, bytesOf('000000000000000001'))])),
    new Ext(8, pack({ inner: {} })), new Ext(8, pack({ inner: [], attributes: 1 })), new Ext(8, pack({ inner: new Map([[1, 1]]), attributes: 1 })),
    new Ext(9, utf8('1F')), new Ext(9, new Uint8Array(0)), new Ext(9, utf8('A'.repeat(65))), new Ext(9, Uint8Array.of(0xc3, 0xa9)),
  ];
  bad.forEach((value, i) => assert.throws(() => read(pack(value)), { code: 'tree.schema' }, `payload ${i}`));
  refuses('manifest.syntax', pack(new Ext(2, bytesOf('9001'))));
  refuses('manifest.syntax', pack(new Ext(2, bytesOf('92'))));
  assert.deepEqual(read(pack(new Ext(7, pack(['\uffff', '\u{10000}'])))).elements, ['\uffff', '\u{10000}']);
});

test('no extension outside the tree', () => {
  refuses('manifest.schema', pack([new Ext(9, utf8('F32'))]), { extension: noExtension });
  refuses('tree.schema', pack([new Ext(42, utf8('F32'))]), { extension: noExtension });
});
