import type { Store } from './index.js';

export * from './index.js';

/** A store in a directory. Nothing outside it is reached, whatever links lie in it. */
export class DirectoryStore implements Store {
  constructor(directory: string);
  get(key: string, limit: number): Promise<Uint8Array | null>;
  getRange(key: string, start: number, end: number): Promise<Uint8Array | null>;
  stat(key: string): Promise<{ size: number } | null>;
  listNames(prefix: string): Promise<string[]>;
}
