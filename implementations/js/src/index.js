/** Reader and verifier of SCF, the Sharded Checkpoint Format, for Node.js and browsers. */

export { Checkpoint, Item } from './checkpoint.js';
export { CODECS } from './codecs.js';
export { DIGESTS } from './digest.js';
export { DTYPES } from './dtypes.js';
export { ScfError } from './errors.js';
export { list, newest } from './list.js';
export { DEFAULT_LIMITS } from './limits.js';
export * from './nodes.js';
export { HttpStore } from './stores/http.js';
export { MemoryStore } from './stores/memory.js';
export { show } from './text.js';
export { nodeAt, tensorName } from './tree.js';
export { verify } from './verify.js';
