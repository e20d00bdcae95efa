/** Digests: SHA-256 and BLAKE3, both of them in WebAssembly, so that they are the same in Node.js and in browsers. */

import { createBLAKE3, createSHA256 } from 'hash-wasm';

/** @type {Promise<Record<string, (bytes: Uint8Array) => Uint8Array>> | undefined} */
let loaded;

function oneShot(hasher) {
  return (bytes) => hasher.init().update(bytes).digest('binary');
}

/** Functions from bytes to their 32 bytes of digest, by the algorithm's registered name. */
export function loadDigests() {
  loaded ??= Promise.all([createSHA256(), createBLAKE3()]).then(([sha256, blake3]) =>
    Object.freeze({ __proto__: null, sha256: oneShot(sha256), blake3: oneShot(blake3) }),
  );
  return loaded;
}

/** A SHA-256 that is fed piece by piece: `update(bytes)`, then `digest('hex')`. */
export async function streamingSha256() {
  return (await createSHA256()).init();
}

/** Names of the algorithms that this reader implements. */
export const DIGESTS = Object.freeze(['blake3', 'sha256']);
