/** The one kind of error that this package raises for anything a checkpoint, a store or a caller does. */

import { show } from './text.js';

/** Phase in which each code arises when a checkpoint is read (registry of error codes). */
const PHASES = {
  'usage.invalid': 'plan',
  'state.layout': 'plan',
  'checkpoint.missing': 'open',
  'item.missing': 'open',
  'tensor.missing': 'plan',
  'version.unsupported': 'open',
  'feature.unsupported': 'open',
  'dtype.unsupported': 'plan',
  'codec.unsupported': 'plan',
  'digest.unsupported': 'plan',
  'limit.exceeded': 'read',
  'key.invalid': 'open',
  'root.syntax': 'open',
  'root.schema': 'open',
  'root.digest': 'open',
  'manifest.missing': 'manifest',
  'manifest.size': 'manifest',
  'manifest.digest': 'manifest',
  'manifest.frame': 'manifest',
  'manifest.syntax': 'manifest',
  'manifest.schema': 'manifest',
  'tree.schema': 'manifest',
  'tiling.inexact': 'manifest',
  'object.missing': 'read',
  'object.size': 'read',
  'object.header': 'read',
  'object.header_digest': 'read',
  'block.digest': 'read',
  'block.codec': 'read',
  'digest.missing': 'manifest',
  'asset.missing': 'read',
  'asset.size': 'read',
  'asset.digest': 'read',
  'external.missing': 'read',
  'store.io': 'store',
};

/** An error with a code of the registry, the phase in which it arose and what it is about. */
export class ScfError extends Error {
  /**
   * @param {string} code code of the registry
   * @param {string} message what is wrong; text of a checkpoint in it is escaped here
   * @param {{phase?: string, subject?: string, cause?: unknown}} [about]
   */
  constructor(code, message, { phase, subject = '', cause } = {}) {
    super(show(message), cause === undefined ? undefined : { cause });
    this.name = 'ScfError';
    this.code = code;
    this.phase = phase ?? PHASES[code] ?? 'read';
    /** Key, path or name that the error is about, as it stands in the checkpoint: not escaped. */
    this.subject = subject;
  }
}

/** Calls `make`; what the engine cannot hold is an error of the registry. */
export function withinEngine(make, about) {
  try {
    return make();
  } catch (error) {
    if (!(error instanceof RangeError)) throw error;
    throw new ScfError('limit.exceeded', `too large for this engine: ${error.message}`, { ...about, cause: error });
  }
}

/** Error of a value beyond a reader's limit. */
export function beyond(limit, found, allowed, about = {}) {
  return new ScfError(
    'limit.exceeded',
    `${limit} is ${allowed}, found ${found}; raise it with the option limits: { ${limit}: … }`,
    about,
  );
}
