import assert from 'node:assert/strict';
import { test } from 'node:test';

import { chainDecoder } from '../src/codecs.js';
import { MapNode } from '../src/nodes.js';
import { decodePlainFrame, ZstdError } from '../src/zstd/frame.js';
import { bytesOf, column, concat, frame, hex, sha256 } from './build.js';
import { VECTORS } from './zstd-vectors.js';

const refuses = (bytes, size) => assert.throws(() => decodePlainFrame(bytes, size), ZstdError);

for (const { name, size, digest, base64 } of VECTORS) {
  const bytes = new Uint8Array(Buffer.from(base64, 'base64'));
  test(`decodes ${name}`, () => assert.equal(hex(sha256(decodePlainFrame(bytes, size))), digest));
  test(`refuses ${name} when it is damaged or does not have the size`, () => {
    refuses(bytes, size + 1);
    refuses(bytes.subarray(0, bytes.length - 1), size);
    refuses(concat(bytes, Uint8Array.of(0)), size);
    refuses(concat(bytes, bytes), 2 * size);
    let accepted = 0;
    for (let at = 0; at < bytes.length; at += Math.ceil(bytes.length / 400)) {
      const damaged = bytes.slice();
      damaged[at] ^= 1 + (at % 255);
      try {
        decodePlainFrame(damaged, size);
        accepted += 1;
      } catch (error) {
        assert.ok(error instanceof ZstdError, error.stack);
      }
    }
    assert.ok(accepted < 400);
  });
}

test('raw and constant blocks', () => {
  assert.equal(decodePlainFrame(frame(new Uint8Array(250000).fill(7)), 250000).every((byte) => byte === 7), true);
  assert.equal(hex(decodePlainFrame(bytesOf('28b52ffd2020030100 3f'), 32)), '3f'.repeat(32));
  assert.equal(decodePlainFrame(bytesOf('28b52ffd2000010000'), 0).length, 0);
});

test('frames that are not plain', () => {
  const blocks = '0100 00';
  refuses(bytesOf(`28b52ffd 00 00 ${blocks}`), 0); // no content size
  refuses(bytesOf(`28b52ffd 21 01 00 ${blocks}`), 0); // dictionary 1
  refuses(bytesOf(`28b52ffd 28 00 ${blocks}`), 0); // reserved bit
  refuses(bytesOf(`502a4d18 00000000 28b52ffd 20 00 ${blocks}`), 0); // skippable frame before
  refuses(bytesOf(`28b52ffd 20 00 ${blocks} 502a4d18 00000000`), 0); // and after
  refuses(bytesOf('28b52ffd 20 00 070000'), 0); // reserved type of block
  refuses(bytesOf('28b52ffd 24 00 010000'), 0); // checksum announced and absent
  refuses(bytesOf('27b52ffd 20 00 010000'), 0); // an older format
  assert.equal(decodePlainFrame(bytesOf('28b52ffd 21 00 00 010000'), 0).length, 0); // dictionary 0
  assert.equal(decodePlainFrame(bytesOf('28b52ffd 24 00 010000 99e9d851'), 0).length, 0);
});

test('a match that begins before the data', () => {
  const bytes = '28b52ffd203a95010054026161616161616261626362616361626161616263626263616261626261616162626162616204002a0240e03b071f1e12';
  refuses(bytesOf(bytes), 58);
});

test('windows', () => {
  const withWindow = (byte) => concat(bytesOf('28b52ffd 40'), Uint8Array.of(byte), bytesOf('0000'), column(3, [256 * 8 + 3]), Uint8Array.of(1));
  assert.equal(decodePlainFrame(withWindow(17 << 3), 256).length, 256);
  refuses(withWindow((17 << 3) | 1), 256);
  refuses(withWindow(31 << 3), 256);
});

test('nothing is allocated for a size that the blocks cannot give', () => {
  const claim = concat(bytesOf('28b52ffd c0 88'), column(8, [2 ** 50]), column(3, [131072 * 8 + 3]), Uint8Array.of(0));
  refuses(claim, 2 ** 50);
});

const planes = (item) => chainDecoder([{ id: 'planes', parameters: new MapNode(['id', 'item'], ['planes', item]) }]);

test('the example of chapter 11', () => {
  const stored = bytesOf(`010a00000000000000 010a00000000000000 002000000000000000 010a00000000000000
    28b52ffd20200301 0000 28b52ffd202003010000 8084888c9094989ca0a4a8acb0b4b8bc c0c4c8ccd0d4d8dce0e4e8ecf0f4f8fc
    28b52ffd20200301003f aabb`);
  const decoded = planes(4n)(stored, 130);
  const view = new DataView(decoded.buffer);
  for (let i = 0; i < 32; i += 1) assert.equal(view.getFloat32(4 * i, true), 1 + i / 32);
  assert.equal(hex(decoded.subarray(128)), 'aabb');
});

test('planes that are refused', () => {
  const block = (headers, ...rest) => concat(...headers.flatMap(([mode, length]) => [Uint8Array.of(mode), column(8, [length])]), ...rest.map(bytesOf));
  const bad = [
    [block([[0, 2], [2, 2]], 'aabb', 'ccdd'), 4],
    [block([[0, 1], [0, 2]], 'aa', 'ccdd'), 4],
    [block([[0, 2], [0, 2]], 'aabb', 'ccdd', 'ee'), 4],
    [block([[0, 2], [0, 2]], 'aabb', 'ccdd'), 5],
    [block([[0, 2], [0, 2n ** 64n - 1n]], 'aabb', 'ccdd'), 4],
    [block([[1, 9], [0, 0]], '28b52ffd2000010000', '77'), 1],
    [block([[1, 9], [0, 2]], '28b52ffd2000010000', 'ccdd'), 4],
    [bytesOf('000100000000000000'), 4],
  ];
  assert.equal(hex(planes(2n)(block([[0, 2], [0, 2]], 'aabb', 'ccdd'), 4)), 'aaccbbdd');
  assert.equal(hex(planes(2n)(block([[0, 0], [0, 0]], '77'), 1)), '77');
  for (const [stored, size] of bad) assert.throws(() => planes(2n)(stored, size), { code: 'block.codec' });
});

test('chains that are not implemented', () => {
  assert.equal(planes(3n), undefined);
  assert.equal(planes(4), undefined);
  assert.equal(planes(undefined), undefined);
  const zstd = { id: 'zstd', parameters: MapNode.EMPTY };
  assert.equal(chainDecoder([zstd, zstd]), undefined);
  assert.equal(chainDecoder([{ id: 'aes-256-gcm', parameters: MapNode.EMPTY }]), undefined);
  assert.equal(typeof chainDecoder([zstd]), 'function');
});
